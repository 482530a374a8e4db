// A user who replaces a key signs the next one with it, so that others who remember the old key can follow. A chain leads from older keys to
// the present one. Its text, for the wire and for files: "OLD:AT:SIGNATURE" for each link, commas between, oldest first; a link signs the
// key of the next one, the last one the present key. Keys and signatures are base64. A thief of a key can sign with it as well: a chain
// proves only that a holder of the old key wanted the new one.
import type { Identity } from "./identity.ts";
import { decodeBase64, isSigned, KEY_BYTES } from "./signed-statements.ts";

/** Links of a chain that are sent and believed; older ones are left out. */
export const MAX_LINKS = 8;
const LINK = /^([A-Za-z0-9+/]{43}=):(0|[1-9]\d{0,15}):([A-Za-z0-9+/]{86}==)$/;
/** Characters of a whole chain: commas included. */
export const MAX_CHAIN_TEXT = MAX_LINKS * (44 + 1 + 16 + 1 + 88 + 1);

interface Link {
  readonly old: string;
  readonly at: string;
  readonly signature: string;
}

/** The bytes that the old key signs. @param at milliseconds since the epoch */
function rotationBytes(old: string, next: string, at: string): Buffer {
  return Buffer.from(["ptalk-rotate-v1", old, next, at, ""].join("\n"), "utf8");
}

/** One link: this identity hands over to that key (base64). */
export function linkTo(identity: Identity, next: string, at: number): string {
  const old = identity.publicKey.toString("base64");
  return `${old}:${at}:${identity.sign(rotationBytes(old, next, String(at))).toString("base64")}`;
}

/** The chain with one more link, without the oldest ones where there are too many. */
export function extended(chain: string, link: string): string {
  return [...chain.split(",").filter(Boolean), link].slice(-MAX_LINKS).join(",");
}

/** Null for a text that is no chain. Signatures are not checked. */
function parse(text: string): Link[] | null {
  if (text.length > MAX_CHAIN_TEXT) return null;
  const links: Link[] = [];
  for (const part of text.split(",")) {
    const [, old, at, signature] = LINK.exec(part) ?? [];
    if (old === undefined || at === undefined || signature === undefined) return null;
    if (decodeBase64(old, KEY_BYTES) === null) return null;
    links.push({ old, at, signature });
  }
  return links.length <= MAX_LINKS ? links : null;
}

/** Keys that lead to `key` by this chain, oldest first; null unless every link is signed. */
export function predecessorsOf(key: string, chain: string): string[] | null {
  const links = parse(chain);
  if (links === null) return null;
  const isWhole = links.every(({ old, at, signature }, i) =>
    isSigned(rotationBytes(old, links[i + 1]?.old ?? key, at), old, signature),
  );
  return isWhole ? links.map(({ old }) => old) : null;
}
