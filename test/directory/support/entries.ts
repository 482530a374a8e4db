// Entries for tests: valid ones, plain or random.
import { createHash } from "node:crypto";
import fc from "fast-check";
import { canonicalAddress, type EndpointKind, endpointProblem } from "../../../lib/base/endpoint.ts";
import { TalkError } from "../../../lib/base/errors.ts";
import { foldIfValid } from "../../../lib/base/names.ts";
import { type NewEntry, packEntry } from "../../../lib/directory/entry.ts";

/** Keys of different clients. */
export const KEYS = Array.from({ length: 16 }, (_, i) => createHash("sha256").update(`key ${i}`).digest("base64"));

/** The fields of a valid entry of this name; `n` varies them. */
export function fieldsOf(name: string, n = 0, changes: Partial<NewEntry> = {}): NewEntry {
  const port = 1024 + (n % 60000);
  const kind = "host";
  return {
    name,
    key: KEYS[n % KEYS.length] as string,
    endpoints:
      n % 3 === 0
        ? [{ address: `10.0.${(n >> 8) & 255}.${n & 255}`, port, kind }]
        : [
            { address: canonicalAddress(`fd00::${(n & 0xffff).toString(16)}`), port, kind },
            { address: "127.0.0.1", port, kind: "observed" },
          ],
    host: `host-${n % 977}`,
    startedAt: 1_790_000_000_000 + n,
    ...changes,
  };
}

/** A claim id of its own for each n. */
export function claimIdOf(n: number): string {
  return Buffer.from(String(n).padStart(12, "0")).toString("base64");
}

const unit = fc.constantFrom(..."abcXYZ019._-éßΣςñ日本ﬁＡİ");

/** Valid names, short enough to meet often. */
export const name: fc.Arbitrary<string> = fc
  .tuple(fc.constantFrom(..."abC7éΣ日"), fc.string({ unit, maxLength: 6 }))
  .map(([first, rest]) => first + rest)
  .filter((text) => foldIfValid(text) !== null);

const endpoint = fc
  .record({
    address: fc.oneof(fc.ipV4(), fc.ipV6()).map(canonicalAddress),
    port: fc.integer({ min: 1, max: 65_535 }),
    kind: fc.constantFrom<EndpointKind[]>("host", "observed", "relay"),
  })
  .filter((made) => endpointProblem(made) === null);

/** A text that an entry may hold, of at most so many bytes. */
const text = (bytes: number, minLength = 0) =>
  fc
    .string({ unit: "grapheme", minLength, maxLength: bytes / 2 })
    .filter((made) => Buffer.byteLength(made) <= bytes && !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(made));

const time = fc.integer({ min: 0, max: 8.64e15 });

/** Everything of an entry but its name. Some together are too long for one entry: those are left out. */
export const fields: fc.Arbitrary<Omit<NewEntry, "name">> = fc
  .record(
    {
      key: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString("base64")),
      endpoints: fc.array(endpoint, { minLength: 1, maxLength: 8 }),
      host: text(64),
      startedAt: time,
      protocol: fc.integer({ min: 1, max: 255 }),
      server: text(64),
      user: fc.option(text(64, 1)),
      uid: fc.option(fc.integer({ min: 0, max: 2 ** 32 - 2 })),
      attested: fc.constantFrom("kernel" as const, "munge" as const, null),
      status: fc.record({
        state: fc.constantFrom("here" as const, "idle" as const, "away" as const),
        text: text(128),
        since: time,
      }),
      rooms: fc.array(
        name.map((room) => `#${room}`),
        { maxLength: 16 },
      ),
    },
    { requiredKeys: ["key", "endpoints", "host", "startedAt"] },
  )
  .filter(fits);

function fits(rest: Omit<NewEntry, "name">): boolean {
  try {
    packEntry({ name: "x", ...rest });
    return true;
  } catch (error) {
    if (error instanceof TalkError && /must fit/.test(error.message)) return false;
    throw error;
  }
}
