// The hash of names against another implementation's: tables are read by programs of other versions, which look where it says.
import { expect, it } from "vitest";
import { hashWords } from "../../../lib/directory/shm/name-key.ts";

const SEED = [0x0123_4567, 0x89ab_cdef] as const;

it.each([
  ["a", 1_376_710_980],
  ["bob", -445_640_581],
  ["alice", 1_758_721_909],
  ["Ünïcode-😀", -154_761_163],
  ["x".repeat(32), -338_928_235],
])("HalfSipHash-1-3 of %j, the length in a word of its own", (text, hash) => {
  const bytes = Buffer.from(text);
  const count = Math.ceil(bytes.length / 4);
  const words = new Int32Array(count);
  Buffer.from(words.buffer).set(bytes);
  expect(hashWords(words, count, bytes.length, ...SEED)).toBe(hash);
});
