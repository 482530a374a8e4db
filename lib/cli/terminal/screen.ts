// The bottom of the terminal: a block of status rows, prompt and half-typed line that is erased, what arrived is printed,
// and the block is drawn again below. Knows widths and control sequences; nothing of keys or messages.
//
// A terminal may count other columns for a character than we do (a family of emoji has 2, or 6). So that our idea of the
// block never goes stale: rows are broken by us and drawn with automatic wrapping off (DECAWM), which fixes their number, and
// the cursor is put in place by printing what stands left of it, which fixes its column.
import stringWidth from "fast-string-width";
import { clip, layOut } from "./layout.ts";

const CSI = "\x1b[";
const ERASE_BELOW = `${CSI}J`;
const CLEAR_SCREEN = `${CSI}2J${CSI}H`;
const WRAP_OFF = `${CSI}?7l`;
const WRAP_ON = `${CSI}?7h`;

/** Lines kept to be printed again where a resize has made the screen unreadable. */
const RECENT_LIMIT = 200;

export interface ScreenOutput {
  readonly columns: number;
  readonly rows: number;
  /** @param done called once the text is handed over, with an error if it never will be */
  write(text: string, done?: (error?: Error | null) => void): unknown;
}

/** What stands below everything that was printed. */
export interface Block {
  /** Rows above the prompt, clipped to the width; printable text, may be coloured with `paintStatus`. */
  readonly status: readonly string[];
  readonly prompt: string;
  readonly text: string;
  /** Offset in `text`. */
  readonly cursor: number;
}

export interface ScreenStyle {
  readonly prompt: (text: string) => string;
  readonly status: (text: string) => string;
}

export class Screen {
  readonly #output: ScreenOutput;
  readonly #style: ScreenStyle;
  #block: Block | undefined;
  /** Widths of the rows now on the screen, and the cursor's row among them. */
  #drawn: readonly number[] = [];
  #cursorRow = 0;
  #recent: string[] = [];

  constructor(output: ScreenOutput, style: ScreenStyle) {
    this.#output = output;
    this.#style = style;
  }

  /** Prints lines above the block. Control sequences in them are obeyed: what comes from others is sanitised before. */
  print(lines: readonly string[], done?: (error?: Error | null) => void): void {
    this.#recent = [...this.#recent, ...lines].slice(-RECENT_LIMIT);
    this.#output.write(this.#erase() + lines.map((line) => `${line}\r\n`).join("") + this.#draw(), done);
  }

  /** Shows another block in place of the one before. */
  show(block: Block): void {
    this.#block = block;
    this.#output.write(this.#erase() + this.#draw());
  }

  /** Takes the block away; the cursor stands where it began. It comes back with {@link show}. */
  hide(): void {
    this.#block = undefined;
    this.#output.write(this.#erase());
  }

  /**
   * After a change of size. As long as every row still fits, nothing moved. Otherwise terminals disagree (most rewrap, some
   * cut, some spare the cursor's row), so the screen is drawn from what we know.
   */
  resized(): void {
    if (Math.max(0, ...this.#drawn) > this.#output.columns) this.repaint();
    else this.#output.write(this.#erase() + this.#draw());
  }

  /** Clears the screen and prints the latest lines and the block again. */
  repaint(): void {
    this.#drawn = [];
    this.#cursorRow = 0;
    const block = this.#draw();
    const lines = this.#lastLines(this.#output.rows - this.#drawn.length);
    this.#output.write(CLEAR_SCREEN + lines.map((line) => `${line}\r\n`).join("") + block);
  }

  #lastLines(room: number): readonly string[] {
    let left = room;
    let first = this.#recent.length;
    while (first > 0) {
      left -= Math.max(1, Math.ceil(stringWidth(this.#recent[first - 1] ?? "") / this.#output.columns));
      if (left < 0) break;
      first--;
    }
    return this.#recent.slice(first);
  }

  #erase(): string {
    if (this.#drawn.length === 0) return "";
    const up = this.#cursorRow > 0 ? `${CSI}${this.#cursorRow}A` : "";
    this.#drawn = [];
    this.#cursorRow = 0;
    return `\r${up}${ERASE_BELOW}`;
  }

  #draw(): string {
    if (this.#block === undefined) return "";
    const { status, prompt, text, cursor } = this.#block;
    const { columns } = this.#output;
    // More rows than the terminal has would scroll away what must be erased: show the part around the cursor.
    const visibleRows = Math.max(1, this.#output.rows - 1);
    const layout = layOut(prompt, text, cursor, columns, visibleRows);
    const { promptLength } = layout;
    const paintPrompt = (row: string, index: number): string =>
      index === 0 ? this.#style.prompt(row.slice(0, promptLength)) + row.slice(promptLength) : row;
    const statusRows = status.map((row) => clip(row, columns));
    const rows = [...statusRows, ...layout.rows];
    const cursorRow = statusRows.length + layout.cursorRow;
    const first = Math.max(
      0,
      Math.min(cursorRow - visibleRows + 1 + Math.min(1, rows.length - 1 - cursorRow), rows.length - visibleRows),
    );
    const paint = (row: string, index: number): string =>
      index < statusRows.length ? this.#style.status(row) : paintPrompt(row, index - statusRows.length);
    const visible = rows.slice(first, first + visibleRows);
    const shown = visible.map((row, index) => paint(row, first + index));
    this.#drawn = visible.map((row) => stringWidth(row));
    this.#cursorRow = cursorRow - first;
    const up = shown.length - 1 - this.#cursorRow;
    const prefix = paintPrompt(layout.cursorPrefix, layout.cursorRow);
    return `${WRAP_OFF}${shown.join("\r\n")}${up > 0 ? `${CSI}${up}A` : ""}\r${prefix}${WRAP_ON}`;
  }
}
