// What a person takes for one character, and how many columns it covers. Pure.
import stringWidth from "fast-string-width";
import { escapeControls } from "../escape-controls.ts";

const segmenter = new Intl.Segmenter(undefined, { granularity: "grapheme" });

export interface Glyph {
  /** What is printed for it: itself, or its visible form (^J, <U+202E>). */
  readonly shown: string;
  /** Columns: 0 to 2 for a character, more for a visible form. */
  readonly width: number;
  /** Code units of the text it stands for. */
  readonly length: number;
}

const PRINTABLE_ASCII = /^[\x20-\x7e]*$/;

/** Cuts text into glyphs. */
export function glyphs(text: string): Glyph[] {
  if (PRINTABLE_ASCII.test(text)) return Array.from(text, (shown) => ({ shown, width: 1, length: 1 }));
  return Array.from(segmenter.segment(text), ({ segment }) => {
    const shown = escapeControls(segment);
    return { shown, width: stringWidth(shown), length: segment.length };
  });
}

/** Offset of the grapheme boundary before `at`, in code units; 0 at the start. */
export function boundaryBefore(text: string, at: number): number {
  return at <= 0 ? 0 : (segmenter.segment(text).containing(at - 1)?.index ?? 0);
}

/** Offset of the grapheme boundary after `at`. */
export function boundaryAfter(text: string, at: number): number {
  const segment = segmenter.segment(text).containing(at);
  return segment === undefined ? text.length : segment.index + segment.segment.length;
}

/** The boundary at or after `at`: where a cursor that an edit left inside a character has to go. */
export function snap(text: string, at: number): number {
  const segment = segmenter.segment(text).containing(at);
  if (segment === undefined) return text.length;
  return segment.index === at ? at : segment.index + segment.segment.length;
}
