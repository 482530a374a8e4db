// Text of others, made safe to print: nothing in it is obeyed by the terminal, nothing in it stays invisible.
// C0 and DEL become ^X; C1, bidi controls and zero-width characters become <U+XXXX>; a lone surrogate becomes U+FFFD.
// What joins an emoji or letters of a script that needs it (ZWJ, ZWNJ, variation selectors) stays.

import { graphemes } from "./graphemes.ts";

const PRINTABLE_ASCII = /^[\x20-\x7e]*$/;
// Cc: C0, DEL, C1. Cf and Default_Ignorable_Code_Point: bidi, zero width, tags, variation selectors, fillers. Zl, Zp: line
// and paragraph separator. U+2800 is a blank that no class knows.
const SUSPECT = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]/u;
const SUSPECT_EACH = new RegExp(SUSPECT.source, "gu");
// UTS 51: pictographs with their modifiers, joined; keycaps; the flags made of tags.
const PICTOGRAPH = "\\p{Extended_Pictographic}(?:\\ufe0f|\\ufe0e|\\p{Emoji_Modifier})?";
const EMOJI = new RegExp(
  `^(?:${PICTOGRAPH}(?:\\u200d${PICTOGRAPH})*|[0-9#*]\\ufe0f?\\u20e3|\\u{1f3f4}[\\u{e0030}-\\u{e007a}]{1,8}\\u{e007f})$`,
  "u",
);
// Scripts whose spelling uses U+200C and U+200D.
const JOINING_LETTER =
  /[\p{sc=Arabic}\p{sc=Syriac}\p{sc=Mongolian}\p{sc=Devanagari}\p{sc=Bengali}\p{sc=Gurmukhi}\p{sc=Gujarati}\p{sc=Oriya}\p{sc=Tamil}\p{sc=Telugu}\p{sc=Kannada}\p{sc=Malayalam}\p{sc=Sinhala}\p{sc=Khmer}]/u;

/** Code points in one grapheme: Unicode's stream-safe limit (UAX 15) plus its base; more only smears the screen. */
const GRAPHEME_LIMIT = 31;

export const TAB = "    ";

/** One line: newlines too become visible (^J). */
export function escapeControls(text: string): string {
  if (PRINTABLE_ASCII.test(text)) return text;
  const wellFormed = text.replace(/\p{Cs}/gu, "\ufffd");
  if (!SUSPECT.test(wellFormed) && wellFormed.length <= GRAPHEME_LIMIT) return wellFormed;
  let result = "";
  for (const grapheme of graphemes(wellFormed)) result += visibleGrapheme(grapheme);
  return result;
}

/** Several lines: newline (also CR LF) starts a new one, a tab becomes spaces, the rest as in {@link escapeControls}. */
export function escapeControlsByLine(text: string): string[] {
  return text.split(/\r?\n/).map((line) => line.split("\t").map(escapeControls).join(TAB));
}

function visibleGrapheme(grapheme: string): string {
  if (grapheme.length > GRAPHEME_LIMIT && [...grapheme].length > GRAPHEME_LIMIT) {
    return [...grapheme].map((c) => (/\p{M}/u.test(c) ? notation(c) : escapeControls(c))).join("");
  }
  if (!SUSPECT.test(grapheme) || EMOJI.test(grapheme)) return grapheme;
  if (/[\u200c\u200d]/.test(grapheme) && JOINING_LETTER.test(grapheme)) {
    return grapheme.replace(SUSPECT_EACH, (c) => (c === "\u200c" || c === "\u200d" ? c : notation(c)));
  }
  return grapheme.replace(SUSPECT_EACH, notation);
}

function notation(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x20) return `^${String.fromCharCode(code + 0x40)}`;
  if (code === 0x7f) return "^?";
  return `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
}
