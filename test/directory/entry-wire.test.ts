// An entry on the wire: what the server writes, a client reads; what it cannot read is refused.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DirectoryEntry, packEntry } from "../../lib/directory/entry.ts";
import { readEntry, writeEntry } from "../../lib/directory/entry-wire.ts";
import { ProtocolError } from "../../lib/wire/protocol-error.ts";
import { ReplyDecoder, type RespValue } from "../../lib/wire/resp-reply.ts";
import { type Protocol, ReplyWriter } from "../../lib/wire/resp-writer.ts";
import { fields, fieldsOf, name } from "./support/entries.ts";

function sent(entry: DirectoryEntry, protocol: Protocol): RespValue {
  const out = new ReplyWriter(64);
  writeEntry(out, entry, protocol);
  const decoder = new ReplyDecoder();
  decoder.push(out.bytes());
  return (decoder.next() ?? expect.fail("no whole reply")).value;
}

const plain = (entry: DirectoryEntry) => ({ ...entry.toJSON(), packed: entry.packed });

describe("an entry on the wire", () => {
  it("arrives as it was sent, in both protocols", () => {
    const time = fc.option(fc.integer({ min: 0, max: 8.64e15 }));
    fc.assert(
      fc.property(
        name,
        fields,
        time,
        fc.boolean(),
        fc.constantFrom(2 as const, 3 as const),
        (who, rest, at, stale, protocol) => {
          const entry = new DirectoryEntry(packEntry({ name: who, ...rest }), at, stale);
          expect(plain(readEntry(sent(entry, protocol)))).toEqual(plain(entry));
        },
      ),
      { numRuns: 500 },
    );
  });

  it("has the fields in the order that docs/PROTOCOL.md gives, a map in RESP3 and pairs in RESP2", () => {
    const always =
      "name address port host key startedAt lastLookupAt endpoints protocol server user uid attested".split(" ");
    const bare = new DirectoryEntry(packEntry(fieldsOf("ann")));
    expect([...(sent(bare, 3) as Map<string, RespValue>).keys()]).toEqual(always);
    const pairs = sent(bare, 2) as RespValue[];
    expect(pairs.filter((_, i) => i % 2 === 0)).toEqual(always);
    const status = { state: "here" as const, text: "", since: fieldsOf("ann").startedAt + 1 };
    const full = new DirectoryEntry(packEntry({ ...fieldsOf("ann"), status, rooms: ["#ops"] }), null, true);
    expect([...(sent(full, 3) as Map<string, RespValue>).keys()]).toEqual([...always, "status", "rooms", "stale"]);
  });

  it("may have further fields", () => {
    const entry = new DirectoryEntry(packEntry(fieldsOf("ann")));
    const value = sent(entry, 3) as Map<RespValue, RespValue>;
    value.set("mood", "good").set(7, ["?"]);
    expect(plain(readEntry(value))).toEqual(plain(entry));
  });

  it.each<[string, RespValue | undefined]>([
    ["name", 7],
    ["key", null],
    ["host", undefined],
    ["startedAt", "now"],
    ["startedAt", null],
    ["lastLookupAt", "never"],
    ["lastLookupAt", undefined],
    ["endpoints", "10.0.0.1 4000 host"],
    ["endpoints", [7]],
    ["endpoints", ["10.0.0.1 4000"]],
    ["endpoints", ["10.0.0.1 4000 tunnel"]],
    ["protocol", undefined],
    ["server", undefined],
    ["user", undefined],
    ["uid", "0"],
    ["status", ["gone", 0, ""]],
    ["status", ["away", "0", ""]],
    ["rooms", "#ops"],
  ])("is refused with a bad %s: %j", (field, value) => {
    const fieldsSent = sent(new DirectoryEntry(packEntry(fieldsOf("ann"))), 3) as Map<RespValue, RespValue>;
    if (value === undefined) fieldsSent.delete(field);
    else fieldsSent.set(field, value);
    expect(() => readEntry(fieldsSent)).toThrow(ProtocolError);
    expect(() => readEntry(fieldsSent)).toThrow(field);
  });

  it.each<[string, RespValue]>([
    ["key", "short"],
    ["endpoints", []],
    ["endpoints", ["0.0.0.0 4000 host"]],
    ["endpoints", ["10.0.0.1 70000 host"]],
    ["host", "\u001b[2J"],
    ["uid", -1],
  ])("is refused when it breaks a rule of entries: %s %j", (field, value) => {
    const fieldsSent = sent(new DirectoryEntry(packEntry(fieldsOf("ann"))), 3) as Map<RespValue, RespValue>;
    expect(() => readEntry(fieldsSent.set(field, value))).toThrow(expect.objectContaining({ code: "bad-data" }));
  });

  it.each<[RespValue]>([[7], ["ann"], [null], [[]], [new Map()]])("is none: %j", (value) => {
    expect(() => readEntry(value)).toThrow(ProtocolError);
  });
});
