// One client of the server's directory, from the reply's field/value map to what the library gives out.
import { isIP } from "node:net";
import { fingerprint } from "../crypto/fingerprint.ts";
import { TalkError } from "../errors.ts";
import { decodeBase64, KEY_BYTES } from "../wire/registration.ts";
import type { RespValue } from "../wire/resp-reply.ts";
import type { ClientRecord } from "./types.ts";

/** A record, and what only the transport needs of it. */
export interface DirectoryRecord extends ClientRecord {
  /** base64 of the 32-byte Ed25519 public key. */
  readonly key: string;
  /** Every address it registered, the preferred one first. */
  readonly addresses: readonly string[];
}

/** @returns null for the reply "unknown". @throws TalkError protocol for anything that is no record */
export function directoryRecord(reply: RespValue): DirectoryRecord | null {
  if (reply === null) return null;
  if (!(reply instanceof Map)) throw TalkError.protocol("a client is not a map");
  const text = (field: string): string => {
    const value = reply.get(field);
    if (typeof value !== "string") throw TalkError.protocol(`a client has no ${field}`);
    return value;
  };
  const key = text("key");
  const bytes = decodeBase64(key, KEY_BYTES);
  const addresses = addressesOf(reply.get("addresses"), text("address"));
  const port = Number(reply.get("port"));
  if (bytes === null || addresses.length === 0 || !Number.isInteger(port) || port < 1 || port > 65535) {
    throw TalkError.protocol("a client's key, address or port is malformed");
  }
  return {
    name: text("name"),
    address: addresses[0] as string,
    addresses,
    port,
    host: text("host"),
    startedAt: timeOf(reply.get("startedAt")) ?? 0,
    lastLookupAt: timeOf(reply.get("lastLookupAt")),
    fingerprint: fingerprint(bytes),
    key,
  };
}

/** Without what only the transport needs. */
export function publicRecord({ key: _key, addresses: _addresses, ...record }: DirectoryRecord): ClientRecord {
  return record;
}

function addressesOf(list: RespValue | undefined, first: string): string[] {
  const more = Array.isArray(list) ? list : typeof list === "string" ? list.split(",") : [];
  return [...new Set([first, ...more])].filter((a): a is string => typeof a === "string" && isIP(a) !== 0);
}

function timeOf(value: RespValue | undefined): number | null {
  const ms = value === null || value === undefined || value === "" ? Number.NaN : Number(value);
  return Number.isFinite(ms) && ms > 0 ? ms : null;
}
