// The digits that two people compare to rule out a man in the middle: made of both keys, the same on both sides.
import { createHash } from "node:crypto";

const DOMAIN = "ptalk comparison code 1";
/** 99 bits: to find keys with the same code is out of reach, and it is read in half a minute. */
const GROUPS = 6;
const GROUP_BYTES = 5;
const GROUP_DIGITS = 5;

/** "01234 56789 …" of two Ed25519 public keys, in whichever order. */
export function comparisonCode(one: Uint8Array, other: Uint8Array): string {
  const keys = [Buffer.from(one), Buffer.from(other)].sort(Buffer.compare);
  const digest = createHash("sha512").update(DOMAIN).update(Buffer.concat(keys)).digest();
  const groups = Array.from({ length: GROUPS }, (_, i) => {
    const value = digest.readUIntBE(i * GROUP_BYTES, GROUP_BYTES) % 10 ** GROUP_DIGITS;
    return String(value).padStart(GROUP_DIGITS, "0");
  });
  return groups.join(" ");
}
