// An entry as LOOKUP, ALL and the pushes show it: one list of fields, written by the server and read by clients.
import type { EndpointKind } from "../base/endpoint.ts";
import { ProtocolError } from "../wire/protocol-error.ts";
import type { RespValue } from "../wire/resp-reply.ts";
import type { Protocol, ReplyWriter } from "../wire/resp-writer.ts";
import { type ClientStatus, DirectoryEntry, packEntry } from "./entry.ts";

/** Fields that every entry has on the wire. */
const FIELDS = 13;

/**
 * Writes `name address port host key startedAt lastLookupAt endpoints protocol server user uid attested`, and `status`, `rooms`,
 * `stale` and `login` (the name is a login name, and nothing vouches for its user) where they say something. A map in RESP3, an array of pairs in RESP2. An endpoint is "address port kind".
 */
export function writeEntry(out: ReplyWriter, entry: DirectoryEntry, protocol: Protocol): void {
  const { endpoints, status, rooms, stale, isUnattestedLogin } = entry;
  const hasStatus = status.state !== "here" || status.text !== "" || status.since !== entry.startedAt;
  out.map(
    FIELDS + (hasStatus ? 1 : 0) + (rooms.length > 0 ? 1 : 0) + (stale ? 1 : 0) + (isUnattestedLogin ? 1 : 0),
    protocol,
  );
  out.bulk("name");
  out.bulk(entry.name);
  out.bulk("address");
  out.bulk(entry.address);
  out.bulk("port");
  out.integer(entry.port);
  out.bulk("host");
  out.bulk(entry.host);
  out.bulk("key");
  out.bulk(entry.key);
  out.bulk("startedAt");
  out.integer(entry.startedAt);
  out.bulk("lastLookupAt");
  if (entry.lastLookupAt === null) out.null(protocol);
  else out.integer(entry.lastLookupAt);
  out.bulk("endpoints");
  out.array(endpoints.length);
  for (const { address, port, kind } of endpoints) out.bulk(`${address} ${port} ${kind}`);
  out.bulk("protocol");
  out.integer(entry.protocol);
  out.bulk("server");
  out.bulk(entry.server);
  out.bulk("user");
  if (entry.user === null) out.null(protocol);
  else out.bulk(entry.user);
  out.bulk("uid");
  if (entry.uid === null) out.null(protocol);
  else out.integer(entry.uid);
  out.bulk("attested");
  if (entry.attested === null) out.null(protocol);
  else out.bulk(entry.attested);
  if (hasStatus) {
    out.bulk("status");
    out.array(3);
    out.bulk(status.state);
    out.integer(status.since);
    out.bulk(status.text);
  }
  if (rooms.length > 0) {
    out.bulk("rooms");
    out.array(rooms.length);
    for (const room of rooms) out.bulk(room);
  }
  if (stale) {
    out.bulk("stale");
    out.integer(1);
  }
  if (isUnattestedLogin) {
    out.bulk("login");
    out.integer(1);
  }
}

/**
 * Reads what {@link writeEntry} wrote. Ignores fields that it does not know: they are of a later version.
 * @throws ProtocolError if a field is missing or of another type; TalkError `bad-data`, `bad-name` if it breaks a rule of entries
 */
export function readEntry(value: RespValue): DirectoryEntry {
  const fields = value instanceof Map ? value : pairs(value);
  const lastLookupAt = fields.get("lastLookupAt");
  if (lastLookupAt !== null && typeof lastLookupAt !== "number") throw missing("lastLookupAt");
  const attested = fields.get("attested");
  const status = readStatus(fields.get("status"));
  const packed = packEntry({
    name: text(fields, "name"),
    key: text(fields, "key"),
    endpoints: texts(fields, "endpoints").map(readEndpoint),
    host: text(fields, "host"),
    startedAt: number(fields, "startedAt"),
    protocol: number(fields, "protocol"),
    server: text(fields, "server"),
    user: fields.get("user") === null ? null : text(fields, "user"),
    uid: fields.get("uid") === null ? null : number(fields, "uid"),
    attested: attested === "kernel" || attested === "munge" ? attested : null,
    isUnattestedLogin: fields.get("login") === 1,
    ...(status === null ? {} : { status }),
    rooms: fields.has("rooms") ? texts(fields, "rooms") : [],
  });
  return new DirectoryEntry(packed, lastLookupAt, fields.get("stale") === 1);
}

function readEndpoint(value: string): { address: string; port: number; kind: EndpointKind } {
  const [address = "", port, kind] = value.split(" ");
  if (kind !== "host" && kind !== "observed" && kind !== "relay") throw missing("endpoints");
  return { address, port: Number(port), kind };
}

function readStatus(value: RespValue | undefined): ClientStatus | null {
  if (!Array.isArray(value)) return null;
  const [state, since, text] = value;
  if (state !== "here" && state !== "idle" && state !== "away") throw missing("status");
  if (typeof since !== "number" || typeof text !== "string") throw missing("status");
  return { state, since, text };
}

function pairs(value: RespValue): Map<RespValue, RespValue> {
  const map = new Map<RespValue, RespValue>();
  if (!Array.isArray(value)) throw new ProtocolError("an entry is a map of fields");
  for (let i = 0; i + 1 < value.length; i += 2) map.set(value[i] as RespValue, value[i + 1] as RespValue);
  return map;
}

function text(fields: Map<RespValue, RespValue>, field: string): string {
  const value = fields.get(field);
  if (typeof value !== "string") throw missing(field);
  return value;
}

function texts(fields: Map<RespValue, RespValue>, field: string): string[] {
  const value = fields.get(field);
  if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) throw missing(field);
  return value;
}

function number(fields: Map<RespValue, RespValue>, field: string): number {
  const value = fields.get(field);
  if (typeof value !== "number") throw missing(field);
  return value;
}

function missing(field: string): ProtocolError {
  return new ProtocolError(`an entry without a valid ${field}`);
}
