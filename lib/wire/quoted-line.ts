// A line with quotes, taken apart as Redis does it (sdssplitargs): "…" with the escapes \n \r \t \b \a \xHH and \ before anything
// else, '…' with \' only; a word that begins unquoted may go on quoted; behind a closing quote stands a blank or nothing.
import { ProtocolError } from "./protocol-error.ts";
import { MAX_ARGUMENTS } from "./resp-limits.ts";

const TAB = 9;
const CR = 13;
const SPACE = 32;
const QUOTE = 34;
const APOSTROPHE = 39;
const BACKSLASH = 92;
const LOWER_X = 120;
const HEX_DIGITS = /^[0-9a-fA-F]{2}$/;
const ESCAPES: ReadonlyMap<number, number> = new Map(
  [..."nrtba"].map((c, i) => [c.charCodeAt(0), [10, 13, 9, 8, 7][i] ?? 0]),
);

export function isBlank(byte: number | undefined): boolean {
  return byte === SPACE || byte === TAB || byte === CR;
}

export function hasQuotes(bytes: Uint8Array, from: number, end: number): boolean {
  for (let at = from; at < end; at++) if (bytes[at] === QUOTE || bytes[at] === APOSTROPHE) return true;
  return false;
}

/**
 * Writes the words over the line, which they are never longer than.
 * @param starts and `ends` get where each word is @returns how many there are
 * @throws ProtocolError for a quote without its end, and for too many words
 */
export function splitQuoted(line: Uint8Array, starts: Int32Array, ends: Int32Array): number {
  let count = 0;
  let at = 0;
  let written = 0;
  while (at < line.length) {
    if (isBlank(line[at])) {
      at++;
      continue;
    }
    if (count === MAX_ARGUMENTS) throw new ProtocolError(`at most ${MAX_ARGUMENTS} arguments`);
    starts[count] = written;
    let quote = 0;
    while (at < line.length) {
      let byte = line[at++] as number;
      if (quote === 0 && isBlank(byte)) break;
      if (quote === 0 && (byte === QUOTE || byte === APOSTROPHE)) {
        quote = byte;
        continue;
      }
      if (byte === quote) {
        if (at < line.length && !isBlank(line[at])) throw unbalanced();
        quote = 0;
        break;
      }
      if (byte === BACKSLASH && quote === QUOTE && at < line.length) {
        const hex = line[at] === LOWER_X ? Buffer.from(line.subarray(at + 1, at + 3)).toString("latin1") : "";
        const isHex = HEX_DIGITS.test(hex);
        byte = isHex ? Number.parseInt(hex, 16) : (ESCAPES.get(line[at] as number) ?? (line[at] as number));
        at += isHex ? 3 : 1;
      } else if (byte === BACKSLASH && quote === APOSTROPHE && line[at] === APOSTROPHE) {
        byte = APOSTROPHE;
        at++;
      }
      line[written++] = byte;
    }
    if (quote !== 0) throw unbalanced();
    ends[count++] = written;
  }
  return count;
}

function unbalanced(): ProtocolError {
  return new ProtocolError("unbalanced quotes in request");
}
