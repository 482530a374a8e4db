// The values under the prefix: whoever may write there may write anything, and no client is told of what it could not read.
import { expect, it } from "vitest";
import { packEntry } from "../../../lib/directory/entry.ts";
import { decodeRow, encodeRow, type SharedRow } from "../../../lib/directory/etcd/keys.ts";
import { newKeys } from "../../helpers/lookup-server.ts";

const row: SharedRow = {
  packed: packEntry({
    ...{ name: "Ann", key: newKeys().key, startedAt: 1_790_000_000_000, host: "lab1" },
    endpoints: [{ address: "192.0.2.1", port: 5000, kind: "host" }],
  }),
  claimId: "c",
  server: "lab1:5518",
  incarnation: "i",
  place: { worker: 1, connection: 2 },
};
const withPacked = (packed: Partial<SharedRow["packed"]>): SharedRow => ({
  ...row,
  packed: { ...row.packed, ...packed },
});

it("a row is read as it was written", () => {
  expect(decodeRow(encodeRow(row))).toEqual(row);
});

it.each([
  ["a name with a line break", withPacked({ name: "a\nb" })],
  ["a key that is none", withPacked({ key: "x" })],
  ["a time that no date can hold", withPacked({ startedAt: 1e300 })],
  ["details of another form", withPacked({ details: "{}" })],
  ["no endpoint", withPacked({ details: "1" })],
  ["details of 100 kB", withPacked({ details: row.packed.details + "x".repeat(100_000) })],
])("%s is no row", (_, written) => {
  expect(decodeRow(encodeRow(written))).toBe(null);
});

it.each(["", "null", "[1]", "\xff"])("%j is no row", (text) => {
  expect(decodeRow(Buffer.from(text, "latin1"))).toBe(null);
});
