// Clients for tests: valid inputs, plain or random.
import { randomBytes } from "node:crypto";
import fc from "fast-check";
import type { ClientInput } from "../../../../lib/directory/shm/stored-entry.ts";

const KEYS = Array.from({ length: 16 }, () => randomBytes(32).toString("base64"));

/** A valid client of this name; `n` varies the other fields. */
export function client(name: string, n = 0, changes: Partial<ClientInput> = {}): ClientInput {
  return {
    name,
    key: KEYS[n % KEYS.length] as string,
    addresses:
      n % 3 === 0 ? [`10.0.${(n >> 8) & 255}.${n & 255}`] : [`fd00::${(n & 0xffff).toString(16)}`, "127.0.0.1"],
    port: 1024 + (n % 60000),
    host: `host-${n % 977}`,
    pid: 1 + (n % 4_000_000),
    startTime: 1000 + n,
    startedAt: 1_790_000_000_000 + n,
    owner: n % 4,
    connection: n,
    ...changes,
  };
}

const unit = fc.constantFrom(..."abcXYZ019._-éßΣςñ日本ﬁＡİ");

/** Names that the rule allows, short enough to meet often. */
export const name: fc.Arbitrary<string> = fc
  .tuple(fc.constantFrom(..."abC7éΣ日"), fc.string({ unit, maxLength: 6 }))
  .map(([first, rest]) => first + rest)
  .filter((text) => Buffer.byteLength(text) <= 32);

const address = fc.oneof(
  fc.ipV4(),
  fc.ipV6().filter((text) => text.length <= 39),
);
const host = fc
  .string({ unit: "grapheme", maxLength: 30 })
  .filter((text) => Buffer.byteLength(text) <= 64 && !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(text));

/** Everything but the name. */
export const fields: fc.Arbitrary<Omit<ClientInput, "name">> = fc.record({
  key: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString("base64")),
  addresses: fc.array(address, { minLength: 1, maxLength: 4 }),
  port: fc.integer({ min: 1, max: 65535 }),
  host,
  pid: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
  startTime: fc.maxSafeNat(),
  startedAt: fc.integer({ min: 0, max: 8.64e15 }),
  owner: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  connection: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
});
