// Whether an entry that may come from hostile bytes is one that the rest of the program can use: right types, within bounds.
import { isIP } from "node:net";
import { type Endpoint, MAX_ENDPOINTS } from "../../../lib/base/endpoint.ts";
import type { DirectoryEntry } from "../../../lib/directory/entry.ts";
import { writeEntry } from "../../../lib/directory/entry-wire.ts";
import { ReplyWriter } from "../../../lib/wire/resp-writer.ts";

/** A socket takes it, and asks no name server. */
const isNumeric = ({ address, port }: Endpoint) =>
  isIP(address) !== 0 && !address.includes("%") && Number.isInteger(port) && port > 0 && port <= 0xffff;

const out = new ReplyWriter(1024);

/** @returns what is wrong, null if nothing is. Throws if the entry cannot be shown or sent at all */
export function problemOf(entry: DirectoryEntry): string | null {
  for (const protocol of [2, 3] as const) {
    out.clear();
    writeEntry(out, entry, protocol);
  }
  JSON.stringify(entry);
  const { endpoints, status, rooms, uid, user } = entry;
  const isTime = (at: number | null) => at === null || (Number.isInteger(at) && at >= 0 && at <= 8.64e15);
  const isText = (text: string, bytes: number) => Buffer.byteLength(text) <= bytes;
  const rules: Record<string, boolean> = {
    name: entry.name.length <= 32,
    key: entry.key.length === 44,
    startedAt: isTime(entry.startedAt),
    lastLookupAt: isTime(entry.lastLookupAt),
    endpoints: endpoints.length <= MAX_ENDPOINTS && endpoints.every(isNumeric),
    kinds: endpoints.every(({ kind }) => ["host", "observed", "relay"].includes(kind)),
    port: Number.isInteger(entry.port) && entry.port >= 0 && entry.port <= 0xffff,
    protocol: Number.isInteger(entry.protocol) && entry.protocol >= 0 && entry.protocol <= 255,
    host: isText(entry.host, 64),
    server: isText(entry.server, 64),
    user: user === null || (user !== "" && isText(user, 64)),
    uid: uid === null || (Number.isInteger(uid) && uid >= 0 && uid < 2 ** 32 - 1),
    attested: [null, "kernel", "munge"].includes(entry.attested),
    state: ["here", "idle", "away"].includes(status.state),
    status: isText(status.text, 128) && isTime(status.since),
    rooms: rooms.length <= 16 && rooms.every((room) => room.startsWith("#") && room.length > 1 && isText(room, 33)),
  };
  const broken = Object.keys(rules).filter((rule) => !rules[rule]);
  return broken.length === 0 ? null : `${broken.join(", ")}: ${JSON.stringify(entry)}`;
}
