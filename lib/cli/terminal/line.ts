// The line being edited: text, a cursor between two graphemes, and the text last cut. Pure: each operation gives a new
// line. Knows nothing of keys, columns or terminals.
import { boundaryAfter, boundaryBefore, snap } from "./width.ts";

export interface Line {
  readonly text: string;
  /** Offset in code units; always on a grapheme boundary. */
  readonly cursor: number;
  /** What the last cut took, for yank. */
  readonly cut: string;
}

/** Longest line, in code units: a message of 64 KiB and its recipients. More is refused, not truncated in secret. */
export const LINE_LIMIT = 66_000;

export const EMPTY: Line = { text: "", cursor: 0, cut: "" };

/** Puts text at the cursor; null if the line would become longer than {@link LINE_LIMIT}. */
export function insert(line: Line, added: string): Line | null {
  if (line.text.length + added.length > LINE_LIMIT) return null;
  const text = line.text.slice(0, line.cursor) + added + line.text.slice(line.cursor);
  return { ...line, text, cursor: snap(text, line.cursor + added.length) };
}

/** Replaces everything, with the cursor at the end. */
export function replace(line: Line, text: string): Line {
  return { ...line, text, cursor: text.length };
}

export const left = (line: Line): Line => ({ ...line, cursor: boundaryBefore(line.text, line.cursor) });
export const right = (line: Line): Line => ({ ...line, cursor: boundaryAfter(line.text, line.cursor) });
export const home = (line: Line): Line => ({ ...line, cursor: 0 });
export const end = (line: Line): Line => ({ ...line, cursor: line.text.length });
export const wordLeft = (line: Line): Line => ({ ...line, cursor: wordStart(line) });
export const wordRight = (line: Line): Line => ({ ...line, cursor: wordEnd(line) });

export const backspace = (line: Line): Line => remove(line, boundaryBefore(line.text, line.cursor), line.cursor);
export const del = (line: Line): Line => remove(line, line.cursor, boundaryAfter(line.text, line.cursor));
export const cutToStart = (line: Line): Line => cut(line, 0, line.cursor);
export const cutToEnd = (line: Line): Line => cut(line, line.cursor, line.text.length);
export const cutWordLeft = (line: Line): Line => cut(line, wordStart(line), line.cursor);
export const cutWordRight = (line: Line): Line => cut(line, line.cursor, wordEnd(line));
export const yank = (line: Line): Line => insert(line, line.cut) ?? line;

// Removing may join what stands on both sides into one grapheme, so the cursor is snapped again.
function remove(line: Line, from: number, to: number): Line {
  const text = line.text.slice(0, from) + line.text.slice(to);
  return { ...line, text, cursor: snap(text, from) };
}

function cut(line: Line, from: number, to: number): Line {
  return from === to ? line : { ...remove(line, from, to), cut: line.text.slice(from, to) };
}

const SPACE = /\s/u;

function wordStart({ text, cursor }: Line): number {
  let at = cursor;
  while (at > 0 && SPACE.test(text[at - 1] as string)) at--;
  while (at > 0 && !SPACE.test(text[at - 1] as string)) at--;
  return snap(text, at);
}

function wordEnd({ text, cursor }: Line): number {
  let at = cursor;
  while (at < text.length && SPACE.test(text[at] as string)) at++;
  while (at < text.length && !SPACE.test(text[at] as string)) at++;
  return snap(text, at);
}
