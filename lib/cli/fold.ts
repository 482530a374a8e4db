// Help on a terminal that is narrower than its lines: breaks them between words. The framework folds descriptions only where a column for
// them is left, and no text that follows.

const TERM_AND_TEXT = /^(\s*\S(?:.*?\S)?)\s{2,}(\S.*)$/;
const TEXT_INDENT = 6; // of a description under its term

/** Each line within `columns`, unless one word alone is longer. Without a terminal (undefined) the text stays as it is. */
export function fold(text: string, columns: number | undefined): string {
  if (columns === undefined) return text;
  return text
    .split("\n")
    .flatMap((line) => foldLine(line, columns))
    .join("\n");
}

function foldLine(line: string, columns: number): string[] {
  if (line.length <= columns) return [line];
  const [, term, description] = TERM_AND_TEXT.exec(line) ?? [];
  if (term === undefined || description === undefined) return wrap(line, columns);
  return [...wrap(term, columns), ...wrap(" ".repeat(TEXT_INDENT) + description, columns)];
}

/** The rows keep the line's own indentation. */
function wrap(line: string, columns: number): string[] {
  const indent = /^\s*/.exec(line)?.[0] ?? "";
  const rows: string[] = [];
  let row = "";
  for (const word of line.trim().split(/\s+/)) {
    if (row !== "" && row.length + 1 + word.length > columns) {
      rows.push(row);
      row = "";
    }
    row = row === "" ? indent + word : `${row} ${word}`;
  }
  return [...rows, row];
}
