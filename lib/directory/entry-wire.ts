// A client as LOOKUP, ALL and the pushes show it: one list of fields, written by the server and read by clients.
import { ProtocolError } from "../wire/protocol-error.ts";
import type { RespValue } from "../wire/resp-reply.ts";
import type { Protocol, ReplyWriter } from "../wire/resp-writer.ts";

export interface ClientEntry {
  readonly name: string;
  /** Where to send datagrams; the first is the preferred one. At least one, at most four. */
  readonly addresses: readonly string[];
  /** UDP port, 1 to 65535. */
  readonly port: number;
  /** The client's own word for its machine; may be empty. */
  readonly host: string;
  /** Ed25519 public key, base64. */
  readonly key: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  /** Milliseconds since the epoch; null if the client asked for no lookup yet. */
  readonly lastLookupAt: number | null;
}

const FIELDS = 7;

/** WriteBatcher `name address port host key startedAt lastLookupAt [addresses]`, a map in RESP3, an array of pairs in RESP2. */
export function writeClientEntry(out: ReplyWriter, client: ClientEntry, protocol: Protocol): void {
  const { addresses } = client;
  out.map(addresses.length > 1 ? FIELDS + 1 : FIELDS, protocol);
  out.bulk("name");
  out.bulk(client.name);
  out.bulk("address");
  out.bulk(addresses[0] ?? "");
  out.bulk("port");
  out.integer(client.port);
  out.bulk("host");
  out.bulk(client.host);
  out.bulk("key");
  out.bulk(client.key);
  out.bulk("startedAt");
  out.integer(client.startedAt);
  out.bulk("lastLookupAt");
  if (client.lastLookupAt === null) out.null(protocol);
  else out.integer(client.lastLookupAt);
  // Few have several, and whoever takes a reply apart pays for each of its elements.
  if (addresses.length > 1) {
    out.bulk("addresses");
    out.array(addresses.length);
    for (const address of addresses) out.bulk(address);
  }
}

/**
 * Reads what {@link writeClientEntry} wrote; fields of later versions are passed by.
 * @throws ProtocolError if a field is missing or of another type
 */
export function readClientEntry(value: RespValue): ClientEntry {
  const fields = value instanceof Map ? value : pairs(value);
  const addresses = fields.get("addresses") ?? [text(fields, "address")];
  const lastLookupAt = fields.get("lastLookupAt");
  if (!Array.isArray(addresses) || !addresses.every((address) => typeof address === "string"))
    throw missing("addresses");
  if (lastLookupAt !== null && typeof lastLookupAt !== "number") throw missing("lastLookupAt");
  return {
    name: text(fields, "name"),
    addresses,
    port: number(fields, "port"),
    host: text(fields, "host"),
    key: text(fields, "key"),
    startedAt: number(fields, "startedAt"),
    lastLookupAt,
  };
}

function pairs(value: RespValue): Map<RespValue, RespValue> {
  const map = new Map<RespValue, RespValue>();
  if (!Array.isArray(value)) throw new ProtocolError("a client is a map of fields");
  for (let i = 0; i + 1 < value.length; i += 2) map.set(value[i] as RespValue, value[i + 1] as RespValue);
  return map;
}

function text(fields: Map<RespValue, RespValue>, field: string): string {
  const value = fields.get(field);
  if (typeof value !== "string") throw missing(field);
  return value;
}

function number(fields: Map<RespValue, RespValue>, field: string): number {
  const value = fields.get(field);
  if (typeof value !== "number") throw missing(field);
  return value;
}

function missing(field: string): ProtocolError {
  return new ProtocolError(`a client without a valid ${field}`);
}
