// One client of the server's directory, from the reply to what the library gives out.
import { isIP } from "node:net";
import { TalkError } from "../base/errors.ts";
import { foldIfValid } from "../base/names.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import { decodeBase64, KEY_BYTES } from "../crypto/signed-statements.ts";
import { type ClientEntry, readClientEntry } from "../directory/entry-wire.ts";
import { ProtocolError } from "../wire/protocol-error.ts";
import type { RespValue } from "../wire/resp-reply.ts";
import type { ClientRecord } from "./types.ts";

/** A record, and what only the transport needs of it. */
export interface DirectoryRecord extends ClientRecord {
  /** base64 of the 32-byte Ed25519 public key. */
  readonly key: string;
  /** Every numeric address it registered, the preferred one first; at least one. */
  readonly addresses: readonly string[];
}

/**
 * @returns null for the reply "unknown", and for a client whose name nobody can have: it could not be written to
 * @throws TalkError protocol for anything that is no client
 */
export function directoryRecord(reply: RespValue): DirectoryRecord | null {
  if (reply === null) return null;
  const entry = read(reply);
  if (foldIfValid(entry.name) === null) return null;
  const key = decodeBase64(entry.key, KEY_BYTES);
  const addresses = entry.addresses.filter((address) => isIP(address) !== 0);
  const [address] = addresses;
  if (key === null || address === undefined || !(entry.port >= 1 && entry.port <= 65535)) {
    throw TalkError.protocol("a client's key, address or port is malformed");
  }
  return { ...entry, address, addresses, fingerprint: fingerprint(key) };
}

function read(reply: RespValue): ClientEntry {
  try {
    return readClientEntry(reply);
  } catch (error) {
    throw error instanceof ProtocolError ? TalkError.protocol(error.message, error) : error;
  }
}

/** Without what only the transport needs. */
export function publicRecord({ key: _key, addresses: _addresses, ...record }: DirectoryRecord): ClientRecord {
  return record;
}
