// What a person takes for one character, and how many columns it covers. Pure.
import stringWidth from "fast-string-width";
import { escapeControls } from "../escape-controls.ts";
import { graphemes, segments } from "../graphemes.ts";

export interface Glyph {
  /** What is printed for it: itself, or its visible form (^J, <U+202E>). */
  readonly shown: string;
  /** Columns: 0 to 2 for a character, more for a visible form. */
  readonly width: number;
  /** Code units of the text it stands for. */
  readonly length: number;
}

const PRINTABLE_ASCII = /^[\x20-\x7e]*$/;

/** Glyphs remembered: more than a text in any one script has, few enough to forget all at once. */
const KNOWN_LIMIT = 4096;
/** Code units of a grapheme that is worth remembering. */
const KNOWN_LENGTH = 16;
/** Code units of a grapheme that are shown. A longer one is a heap of marks, which is shown mark by mark. */
const SHOWN_LENGTH = 256;
const known = new Map<string, Glyph>();

/** Cuts text into glyphs; only those that are taken cost anything. */
export function* glyphs(text: string): Generator<Glyph, void> {
  for (const grapheme of PRINTABLE_ASCII.test(text) ? text : graphemes(text)) yield glyphOf(grapheme);
}

function glyphOf(grapheme: string): Glyph {
  const found = known.get(grapheme);
  if (found !== undefined) return found;
  const isCut = grapheme.length > SHOWN_LENGTH;
  const shown = isCut ? `${escapeControls(grapheme.slice(0, SHOWN_LENGTH))}…` : escapeControls(grapheme);
  const glyph = { shown, width: stringWidth(shown), length: grapheme.length };
  if (grapheme.length > KNOWN_LENGTH) return glyph;
  if (known.size >= KNOWN_LIMIT) known.clear();
  known.set(grapheme, glyph);
  return glyph;
}

/** Offset of the grapheme boundary before `at`, in code units; 0 at the start. */
export function boundaryBefore(text: string, at: number): number {
  return at <= 0 ? 0 : (segments(text).containing(at - 1)?.index ?? 0);
}

/** Offset of the grapheme boundary after `at`. */
export function boundaryAfter(text: string, at: number): number {
  const segment = segments(text).containing(at);
  return segment === undefined ? text.length : segment.index + segment.segment.length;
}

/** The boundary at or after `at`: where a cursor that an edit left inside a character has to go. */
export function snap(text: string, at: number): number {
  const segment = segments(text).containing(at);
  if (segment === undefined) return text.length;
  return segment.index === at ? at : segment.index + segment.segment.length;
}
