// Text as what a person takes for its characters: grapheme clusters (UAX 29). Pure.

/**
 * Code units that are segmented at once. A step of Intl.Segmenter takes time in proportion to the whole text that it was given
 * (some 100 µs in a message of 64 KiB), so long texts are given to it in pieces.
 */
const PIECE = 128;

/**
 * Letters and signs each of which is a grapheme beside any other of them: Latin, Greek and Cyrillic letters, punctuation, symbols,
 * tab and newline, kana, Han, Hangul syllables. Only what is not among them (marks, joiners, regional indicators, jamo) can join them.
 */
const SIMPLE =
  /^[\n\t\x20-\x7e\xa0-\xac\xae-\u02ff\u0370-\u0482\u048a-\u052f\u1e00-\u1fff\u2010-\u2027\u2030-\u205e\u20a0-\u20bf\u2190-\u23ff\u2500-\u26ff\u3001-\u3029\u3041-\u3096\u309b-\u30ff\u3400-\u9fff\uac00-\ud7a3\uff01-\uff5e]*$/;

const HALF = /[\ud800-\udbff]/;

// Most texts never need one, and it costs a command's start several milliseconds.
let segmenter: Intl.Segmenter | undefined;

export function segments(text: string): Intl.Segments {
  segmenter ??= new Intl.Segmenter(undefined, { granularity: "grapheme" });
  return segmenter.segment(text);
}

/** The graphemes of a text, one after the other, in time proportional to what is taken of them. */
export function* graphemes(text: string): Generator<string, void> {
  let from = 0;
  let size = PIECE;
  while (from < text.length) {
    // Half a surrogate pair would be taken for a character by itself.
    const end = from + size + (HALF.test(text[from + size - 1] ?? "") ? 1 : 0);
    const piece = text.slice(from, end);
    const isLast = end >= text.length;
    let held = "";
    for (const grapheme of SIMPLE.test(piece) ? piece : segmented(piece)) {
      if (held !== "") yield held;
      held = grapheme;
    }
    // The last one of a piece may go on in the next, which begins with it then: what stands before a boundary has no say in
    // what follows it.
    if (isLast) yield held;
    const taken = piece.length - held.length;
    from += isLast ? piece.length : taken;
    size = taken === 0 ? size * 2 : PIECE;
  }
}

function* segmented(text: string): Generator<string, void> {
  for (const { segment } of segments(text)) yield segment;
}
