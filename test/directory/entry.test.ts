// The one entry type: what may be in it, its stored form, and what becomes of a stored form that nobody of ours has written.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fingerprint } from "../../lib/crypto/fingerprint.ts";
import { DirectoryEntry, MAX_DETAILS_BYTES, type NewEntry, packEntry } from "../../lib/directory/entry.ts";
import { fields, fieldsOf, KEYS, name } from "./support/entries.ts";
import { problemOf } from "./support/sane.ts";

const key = KEYS[0] as string;
const badData = (field: string) =>
  expect.objectContaining({ code: "bad-data", message: expect.stringMatching(new RegExp(field)) });

/** What an entry shows of what was put into it, defaults included. */
function expected(entry: NewEntry): Record<string, unknown> {
  const { startedAt, status, ...rest } = entry;
  const { state, text, since } = status ?? { state: "here", text: "", since: startedAt };
  const iso = (at: number) => new Date(at).toISOString();
  const [first] = entry.endpoints;
  return {
    protocol: 2,
    server: "",
    user: null,
    uid: null,
    attested: null,
    rooms: [],
    stale: false,
    ...rest,
    address: first?.address,
    port: first?.port,
    fingerprint: fingerprint(Buffer.from(entry.key, "base64")),
    startedAt: iso(startedAt),
    lastLookupAt: null,
    status: { state, text, since: iso(since) },
  };
}

describe("an entry", () => {
  it("gives back what was put into it, through the stored form, a clone of it, and JSON", () => {
    fc.assert(
      fc.property(name, fields, (who, rest) => {
        const entry = { name: who, ...rest };
        const packed = packEntry(entry);
        expect(Buffer.byteLength(packed.details)).toBeLessThanOrEqual(MAX_DETAILS_BYTES);
        const read = new DirectoryEntry(JSON.parse(JSON.stringify(packed)));
        expect(JSON.parse(JSON.stringify(read))).toEqual(expected(entry));
        expect(read.packed).toEqual(packed);
        expect(packEntry(read)).toEqual(packed);
        expect(problemOf(read)).toBeNull();
      }),
      { numRuns: 500 },
    );
  });

  it("shows its times as numbers, and the first endpoint as its address", () => {
    const packed = packEntry(fieldsOf("ann", 1));
    const entry = new DirectoryEntry(packed, 1_790_000_000_777, true);
    expect(entry).toMatchObject({
      startedAt: fieldsOf("ann", 1).startedAt,
      lastLookupAt: 1_790_000_000_777,
      stale: true,
    });
    expect(entry.toJSON()).toMatchObject({ lastLookupAt: "2026-09-21T14:13:20.777Z", stale: true });
    expect([entry.address, entry.port]).toEqual(["fd00::1", fieldsOf("ann", 1).endpoints[0]?.port]);
    expect(entry.endpoints).toBe(entry.endpoints);
  });

  it("takes as little room as a client says of itself", () => {
    const endpoints = [{ address: "::1", port: 1, kind: "host" as const }];
    expect(packEntry({ name: "a", key, endpoints, host: "", startedAt: 0 }).details).toBe("2\u001f::1 1 h");
  });
});

/** Another text for the same bytes: base64 leaves two bits of the last character to the writer. */
function sameBytes(base64: string): string {
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const other = `${base64.slice(0, 42)}${digits[digits.indexOf(base64[42] as string) + 1]}=`;
  expect(Buffer.from(other, "base64")).toEqual(Buffer.from(base64, "base64"));
  return other;
}

describe("packEntry refuses, naming the field,", () => {
  const endpoint = { address: "192.0.2.1", port: 4000, kind: "host" as const };
  const away = { state: "away" as const, text: "", since: 0 };
  const bad: Partial<Record<keyof NewEntry, readonly unknown[]>> = {
    key: [key.slice(1), sameBytes(key), `${key.slice(0, 42)}/=`, "", `${key}\n`, 7],
    endpoints: [
      [],
      {},
      Array(9).fill(endpoint),
      [{ ...endpoint, address: "1.2.3" }],
      [{ ...endpoint, address: "fe80::1%lo" }],
      [{ ...endpoint, address: "0000:0000:0000:0000:0000:ffff:255.255.255.255" }],
      [{ ...endpoint, address: "::ffff:127.0.0.1" }],
      [{ ...endpoint, address: "0.0.0.0" }],
      [{ ...endpoint, address: "::" }],
      [{ ...endpoint, address: "ff02::1" }],
      [{ ...endpoint, address: "255.255.255.255" }],
      [{ ...endpoint, address: "example.org" }],
      ...[0, 65_536, 1.5, Number.NaN, "4000"].map((port) => [{ ...endpoint, port }]),
      ...["direct", "", "toString", undefined].map((kind) => [{ ...endpoint, kind }]),
    ],
    host: ["a\nb", "x".repeat(65), "\u202e", "ü".repeat(33), "\u001f", "\ud800", 7],
    startedAt: [-1, 8.64e15 + 1, Number.POSITIVE_INFINITY, 0.5, "0"],
    protocol: [0, 256, 1.5, "2"],
    server: ["s".repeat(65), "\u0007"],
    user: ["", "u".repeat(65), "\u2028", 7],
    uid: [-1, 2 ** 32 - 1, 0.5, "0"],
    attested: ["root", "", 1],
    status: [
      { ...away, state: "gone" },
      { ...away, text: "t".repeat(129) },
      { ...away, text: "\u001b[2J" },
      { ...away, since: -1 },
      { ...away, since: 8.64e15 + 1 },
    ],
    rooms: [["ops"], ["#"], ["#a b"], ["#-a"], Array(17).fill("#a"), "#ops", [7]],
  };
  const cases = Object.entries(bad).flatMap(([field, values]) => values.map((value) => [field, value] as const));
  it.each(cases)("%s: %j", (field, value) => {
    expect(() => packEntry({ ...fieldsOf("carol"), [field]: value } as NewEntry)).toThrow(badData(field));
  });

  it.each(["-x", "", "a b", "all", "x".repeat(33)])("a name that is none: %j", (who) => {
    expect(() => packEntry(fieldsOf(who))).toThrow(expect.objectContaining({ code: "bad-name" }));
  });

  it("what does not fit together, to the byte", () => {
    const endpoints = Array.from({ length: 8 }, (_, i) => ({
      address: `2001:db8:ffff:ffff:ffff:ffff:ffff:fff${i}`,
      port: 65_535,
      kind: "observed" as const,
    }));
    const room = (length: number) => `#${"r".repeat(length)}`;
    const rooms = [...Array.from({ length: 10 }, (_, i) => `${room(30)}${i}`), room(1)];
    const most = { endpoints, rooms, host: "" };
    const bytes = Buffer.byteLength(packEntry(fieldsOf("ann", 0, most)).details);
    const host = "h".repeat(MAX_DETAILS_BYTES - bytes);
    expect(Buffer.byteLength(packEntry(fieldsOf("ann", 0, { ...most, host })).details)).toBe(MAX_DETAILS_BYTES);
    expect(() => packEntry(fieldsOf("ann", 0, { ...most, host: `${host}h` }))).toThrow(
      badData(`${MAX_DETAILS_BYTES} bytes`),
    );
  });
});

describe("details that no writer made", () => {
  it("become an entry within its bounds, that can be shown and sent", () => {
    const separators = fc.constantFrom(
      "\u001f",
      ",",
      " ",
      "#",
      "",
      ":",
      "-",
      ".",
      "%",
      "::ffff:",
      "1e999",
      "0x1f",
      "kernel",
    );
    const pieces = fc.oneof(
      separators,
      fc.string({ unit: "binary", maxLength: 9 }),
      fc.string({ maxLength: 300 }),
      fc.nat().map(String),
    );
    const random = fc.array(pieces, { maxLength: 200, size: "max" }).map((parts) => parts.join(""));
    const cut = fc.tuple(fields, random, fc.nat(800), fc.nat(800)).map(([rest, junk, from, length]) => {
      const { details } = packEntry({ name: "x", ...rest });
      return details.slice(0, from) + junk.slice(0, length % 40) + details.slice(from + (length % 7));
    });
    const { name: who, startedAt } = fieldsOf("ann");
    fc.assert(
      fc.property(fc.oneof(random, cut), fc.string({ minLength: 44, maxLength: 44 }), (details, anyKey) => {
        const entry = new DirectoryEntry({ name: who, key: anyKey, startedAt, details });
        expect(problemOf(entry)).toBeNull();
        expect(entry.packed.details).toBe(details);
      }),
      { numRuns: 3000 },
    );
  });

  it.each([
    ["", "2\u001f"],
    ["nothing", ""],
    ["separators", "\u001f".repeat(700)],
    ["commas", ",".repeat(768)],
    ["too many endpoints", `2\u001f${"::1 1 h,".repeat(90)}`],
    ["too many rooms", `2\u001f::1 1 h${"\u001f".repeat(9)}${"#r,".repeat(200)}`],
    ["a long host", `2\u001f::1 1 h\u001f${"h".repeat(700)}`],
    ["a port that is none", "2\u001f::1 0x10000 h"],
    ["letters for numbers", "x\u001f::1 x h\u001f\u001f\u001f\u001fx\u001fx\u001fx\u001fx"],
  ])("%s", (_what, details) => {
    const entry = new DirectoryEntry({ ...packEntry(fieldsOf("ann")), details });
    expect(problemOf(entry)).toBeNull();
    expect(entry.endpoints.length).toBeLessThanOrEqual(8);
  });
});
