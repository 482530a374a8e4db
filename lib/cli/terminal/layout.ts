// Where the prompt and the line fall on the screen: rows that each fit the terminal, and the cursor's place. Of a line that no
// screen could show whole only the part around the cursor is laid out, so that a key costs no more in a long line. Pure.
import { glyphs, snap } from "./width.ts";

interface CursorPlace {
  readonly cursorRow: number;
  /** Columns left of the cursor in its row; less than the terminal has. */
  readonly cursorColumn: number;
  /** What stands left of the cursor in its row: printing it puts the cursor there on every terminal. */
  readonly cursorPrefix: string;
}

export interface Layout extends CursorPlace {
  /** What each row shows; none is wider than the terminal. At least one. */
  readonly rows: readonly string[];
  /** Characters of the prompt at the beginning of the first row; 0 where it is left out. */
  readonly promptLength: number;
}

/** Narrower than this and there is no layout worth the name; the terminal is taken for this wide. */
export const MIN_COLUMNS = 8;

/**
 * @param prompt printable text narrower than the terminal, else it is left out
 * @param cursor offset in `text`, on a grapheme boundary
 * @param height rows that can be shown
 */
export function layOut(prompt: string, text: string, cursor: number, columns: number, height: number): Layout {
  const width = Math.max(columns, MIN_COLUMNS);
  const { from, to } = partAround(cursor, text, width, height);
  const rows: string[] = [];
  let row = "";
  let column = 0;
  const add = (shown: string, columns: number): void => {
    if (column + columns > width) newRow();
    row += shown;
    column += columns;
  };
  const newRow = (): void => {
    rows.push(row);
    row = "";
    column = 0;
  };
  const promptGlyphs = from === 0 ? [...glyphs(prompt)] : [];
  if (promptGlyphs.reduce((sum, g) => sum + g.width, 0) < width) for (const g of promptGlyphs) add(g.shown, g.width);
  const promptLength = row.length;
  // The cursor stands on the glyph after it, which may be the first of the next row; at the end it needs a column.
  const cursorHere = (columns: number): CursorPlace => {
    if (column + Math.max(1, Math.min(columns, width)) > width) newRow();
    return { cursorRow: rows.length, cursorColumn: column, cursorPrefix: row };
  };
  let place: CursorPlace | undefined;
  let offset = from;
  for (const glyph of glyphs(text.slice(from, to))) {
    if (place === undefined && offset >= cursor) place = cursorHere(glyph.width);
    // A visible form may be wider than what is left, or than the whole (narrow) terminal: it is broken like text.
    if (glyph.width > 2) for (const character of glyph.shown) add(character, 1);
    else add(glyph.shown, glyph.width);
    offset += glyph.length;
  }
  place ??= cursorHere(1);
  rows.push(row);
  return { rows, promptLength, ...place };
}

/**
 * The whole text, if a screen of so many cells could nearly show it. Else a part that fills a screen up to the cursor, and
 * goes on to the end of the screen on which the text begins, or a little behind the cursor. It begins at the same place while
 * the cursor moves within half a screen, so that rows are broken at the same places.
 */
function partAround(cursor: number, text: string, width: number, height: number): { from: number; to: number } {
  const cells = width * height;
  if (text.length <= 2 * cells) return { from: 0, to: text.length };
  const half = Math.ceil(cells / 2);
  const begin = Math.max(0, Math.floor(cursor / half) - 2) * half;
  const boundary = snap(text, begin);
  return { from: boundary <= cursor ? boundary : begin, to: Math.max(cursor + 2 * width, cells + width) };
}

/** Cuts text to at most `columns`, with an ellipsis where something is missing. Controls become visible. */
export function clip(text: string, columns: number): string {
  let result = "";
  let used = 0;
  let withEllipsis = "";
  for (const { shown, width } of glyphs(text)) {
    if (used + width > columns) return `${withEllipsis}…`;
    result += shown;
    used += width;
    if (used <= columns - 1) withEllipsis = result;
  }
  return result;
}
