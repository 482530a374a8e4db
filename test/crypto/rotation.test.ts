// A chain of keys, each of which has signed the next one.
import { describe, expect, it } from "vitest";
import { Identity } from "../../lib/crypto/identity.ts";
import { extended, linkTo, MAX_CHAIN_TEXT, MAX_LINKS, predecessorsOf } from "../../lib/crypto/rotation.ts";

const keys = Array.from({ length: MAX_LINKS + 3 }, () => Identity.generate());
const text = (identity: Identity | undefined): string => (identity as Identity).publicKey.toString("base64");
/** Leads from the first to the last. */
const chainOf = (...identities: (Identity | undefined)[]): string =>
  identities.slice(1).reduce((chain, next, i) => extended(chain, linkTo(identities[i] as Identity, text(next), i)), "");
const [a, b, c, mallory] = keys;

describe("a chain", () => {
  it("leads from older keys to the present one", () => {
    expect(predecessorsOf(text(b), chainOf(a, b))).toEqual([text(a)]);
    expect(predecessorsOf(text(c), chainOf(a, b, c))).toEqual([text(a), text(b)]);
  });

  it("keeps its last links, and no more", () => {
    const chain = chainOf(...keys);
    expect(chain.length).toBeLessThanOrEqual(MAX_CHAIN_TEXT);
    expect(predecessorsOf(text(keys.at(-1)), chain)).toEqual(keys.slice(-1 - MAX_LINKS, -1).map(text));
    const tooLong = `${linkTo(keys[1] as Identity, text(keys[2]), 1)},${chain}`;
    expect(predecessorsOf(text(keys.at(-1)), tooLong)).toBeNull();
  });

  const [whole, middle] = [chainOf(a, b, c), chainOf(b, c)];
  const [first = "", second = ""] = whole.split(",");
  it.each<[string, string, Identity | undefined]>([
    ["leads to another key", whole, b],
    ["lacks its last link", first, c],
    ["has its links in another order", [second, first].join(","), c],
    [
      "has a link signed by another key",
      [linkTo(mallory as Identity, text(b), 0).replace(/^[^:]+/, text(a)), second].join(","),
      c,
    ],
    ["has another time than was signed", whole.replace(":0:", ":5:"), c],
    ["is empty", "", c],
    ["is no chain", "x", c],
    ["has an empty link", `,${middle}`, c],
    ["ends with a comma", `${middle},`, c],
    ["has the second spelling of a key", middle.replace(/=:/, "=:").replace(/^(.{42})./, (_, head) => `${head}B`), c],
  ])("that %s proves nothing", (_what, chain, key) => {
    expect(predecessorsOf(text(key), chain)).toBeNull();
  });
});
