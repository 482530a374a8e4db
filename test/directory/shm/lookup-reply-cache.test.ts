// A reply that is kept ready says what the table says, or is not given at all.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DirectoryEntry } from "../../../lib/directory/entry.ts";
import { writeEntry } from "../../../lib/directory/entry-wire.ts";
import { ClientTable } from "../../../lib/directory/shm/client-table.ts";
import { LookupReplyCache } from "../../../lib/directory/shm/lookup-reply-cache.ts";
import { type Protocol, ReplyWriter } from "../../../lib/wire/resp-writer.ts";
import { ObjectNames } from "../../helpers/object-names.ts";
import { client } from "./support/clients.ts";

const names = new ObjectNames("replies");
let table: ClientTable;
let cache: LookupReplyCache;
beforeEach(() => {
  table = ClientTable.create(names.fresh(), { capacity: 5000 });
  cache = new LookupReplyCache(table);
});
afterEach(() => {
  table.close();
  table.unlink();
  names.sweep();
});

/** As a request holds it: somewhere in a buffer. */
function asked<T>(name: string, use: (bytes: Buffer, start: number, end: number) => T): T {
  const bytes = Buffer.from(`LOOKUP ${name}\r\n`);
  return use(bytes, 7, bytes.length - 2);
}
const store = (name: string, protocol: Protocol = 2) =>
  asked(name, (bytes, start, end) => cache.store(bytes, start, end, protocol));
function ready(name: string, protocol: Protocol = 2): string | null {
  const out = new ReplyWriter(16);
  const isReady = asked(name, (bytes, start, end) => cache.writeIfFresh(bytes, start, end, protocol, out));
  return isReady ? out.bytes().toString() : null;
}
function reply(name: string, protocol: Protocol = 2): string {
  const out = new ReplyWriter(16);
  const { entry } = table.find(name) ?? expect.fail(`${name} is not there`);
  writeEntry(out, new DirectoryEntry(entry.packed, entry.lastLookupAt), protocol);
  return out.bytes().toString();
}

describe("a reply that is kept", () => {
  it("is the one that the table would give, for each spelling and protocol", () => {
    table.insert(client("Zoë", 3));
    for (const protocol of [2, 3] as const) {
      for (const name of ["Zoë", "ZOË", "zoe\u0308"]) {
        expect(ready(name, protocol)).toBeNull();
        expect(store(name, protocol)).toBe(true);
        expect(ready(name, protocol)).toBe(reply("zoë", protocol));
      }
    }
    expect(ready("zoe")).toBeNull();
  });

  it.each<[string, (row: { slot: number; version: number }) => unknown]>([
    ["changed", ({ slot }) => table.replace(slot, client("ann", 2))],
    ["looked another one up", ({ slot, version }) => table.touch(slot, version, 1_790_000_000_000)],
    ["left", ({ slot, version }) => table.remove(slot, version)],
    [
      "left, and another one has the slot",
      ({ slot, version }) => {
        table.remove(slot, version);
        expect(table.insert(client("bob", 2)).slot).toBe(slot);
      },
    ],
  ])("is not given once the client has %s", (_what, change) => {
    const row = table.insert(client("ann", 1));
    store("ann");
    expect(ready("ann")).not.toBeNull();
    change(row);
    expect(ready("ann")).toBeNull();
    if (table.find("ann") === null) expect(store("ann")).toBe(false);
    else expect([store("ann"), ready("ann")]).toEqual([true, reply("ann")]);
  });

  it("is none for a name that is not there, or is no name", () => {
    for (const name of ["ann", "", "x".repeat(33), "x".repeat(5000), "\u0000", "a b"]) {
      expect([store(name), ready(name)]).toEqual([false, null]);
    }
  });

  it("is never another client's, however many there are", () => {
    for (let i = 0; i < 5000; i++) table.insert(client(`user${i}`, i));
    for (let i = 0; i < 5000; i++) store(`user${i}`);
    let kept = 0;
    for (let i = 0; i < 5000; i++) {
      const given = ready(`user${i}`);
      if (given === null) continue;
      kept++;
      if (given !== reply(`user${i}`)) expect.fail(`the reply for user${i} is another one's`);
    }
    expect(kept).toBeGreaterThan(1000);
  });
});
