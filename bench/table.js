// Rows of a benchmark as aligned text.

const headings = ["what", "value", "unit", "ratio", "target", "met"];

/** Three significant digits below a thousand, thousands separated above. */
function number(value) {
  if (value === undefined) return "";
  if (!Number.isFinite(value)) return String(value);
  return Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(3)));
}

export function table(rows) {
  const cells = rows.map((row) => [
    row.name,
    number(row.value),
    row.unit,
    row.ratio === undefined ? "" : `${number(row.ratio)}x`,
    String(row.target ?? ""),
    row.met === undefined ? "" : row.met ? "yes" : "NO",
  ]);
  const widths = headings.map((heading, i) => Math.max(heading.length, ...cells.map((row) => row[i].length)));
  const line = (row) => row.map((cell, i) => (i === 1 || i === 3 ? cell.padStart(widths[i]) : cell.padEnd(widths[i])));
  return [headings, ...cells].map((row) => `  ${line(row).join("  ").trimEnd()}`).join("\n");
}
