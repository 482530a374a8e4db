// Where the prompt and the line fall on the screen: rows that each fit the terminal, and the cursor's place. Pure.
import { glyphs } from "./width.ts";

export interface Layout {
  /** What each row shows; none is wider than the terminal. At least one. */
  readonly rows: readonly string[];
  readonly cursorRow: number;
  /** Columns left of the cursor in its row; less than the terminal has. */
  readonly cursorColumn: number;
  /** What stands left of the cursor in its row: printing it puts the cursor there on every terminal. */
  readonly cursorPrefix: string;
}

/** Narrower than this and there is no layout worth the name; the terminal is taken for this wide. */
export const MIN_COLUMNS = 8;

/**
 * @param prompt printable text narrower than the terminal, else it is left out
 * @param cursor offset in `text`, on a grapheme boundary
 */
export function layOut(prompt: string, text: string, cursor: number, columns: number): Layout {
  const width = Math.max(columns, MIN_COLUMNS);
  const rows: string[] = [];
  let row = "";
  let column = 0;
  let place: Omit<Layout, "rows"> | undefined;
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
  const promptGlyphs = glyphs(prompt);
  if (promptGlyphs.reduce((sum, g) => sum + g.width, 0) < width) for (const g of promptGlyphs) add(g.shown, g.width);
  let offset = 0;
  for (const glyph of [...glyphs(text), null]) {
    // The cursor stands on the glyph after it, which may be the first of the next row; at the end it needs a column.
    if (place === undefined && offset >= cursor) {
      if (column + Math.max(1, Math.min(glyph?.width ?? 1, width)) > width) newRow();
      place = { cursorRow: rows.length, cursorColumn: column, cursorPrefix: row };
    }
    if (glyph === null) break;
    // A visible form may be wider than what is left, or than the whole (narrow) terminal: it is broken like text.
    if (glyph.width > 2) for (const character of glyph.shown) add(character, 1);
    else add(glyph.shown, glyph.width);
    offset += glyph.length;
  }
  rows.push(row);
  return { rows, ...(place as Omit<Layout, "rows">) };
}

/** Cuts text to at most `columns`, with an ellipsis where something is missing. Controls become visible. */
export function clip(text: string, columns: number): string {
  let result = "";
  let used = 0;
  const all = glyphs(text);
  const total = all.reduce((sum, g) => sum + g.width, 0);
  if (total <= columns) return all.map((g) => g.shown).join("");
  for (const g of all) {
    if (used + g.width > columns - 1) break;
    result += g.shown;
    used += g.width;
  }
  return `${result}…`;
}
