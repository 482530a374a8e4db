// The whole terminal, drawn over and over. It is put back however the program ends, short of SIGKILL.
import type { ReadStream, WriteStream } from "node:tty";

const CSI = "\x1b[";
const ENTER = `${CSI}?1049h${CSI}?25l${CSI}?7l`; // the alternate screen, no cursor, no wrapping
const LEAVE = `${CSI}?7h${CSI}?25h${CSI}?1049l`;
const HOME = `${CSI}H`;
const ERASE_LINE = `${CSI}K`;
const ERASE_BELOW = `${CSI}J`;
const COLUMNS = 80;
const ROWS = 24;
const CTRL_C = "\x03";
const CTRL_D = "\x04";
const QUIT = ["q", "Q", CTRL_C, CTRL_D];

export class TopScreen implements Disposable {
  readonly #input: ReadStream;
  readonly #output: WriteStream;
  readonly #quit = new AbortController();
  readonly #leave = () => this[Symbol.dispose]();
  #isOver = false;
  #shown = "";

  constructor(input: ReadStream, output: WriteStream) {
    this.#input = input;
    this.#output = output;
    if (input.isTTY) {
      input.setRawMode(true);
      input.on("data", (keys: Buffer) => {
        if (QUIT.some((key) => keys.includes(key))) this.#quit.abort();
      });
    }
    output.on("resize", () => this.#erase());
    process.once("exit", this.#leave);
    output.write(ENTER);
  }

  /** Aborted by the keys that end it. */
  get quit(): AbortSignal {
    return this.#quit.signal;
  }

  get columns(): number {
    return this.#output.columns || COLUMNS;
  }

  /** Lines that are too many for the screen are left out. */
  draw(lines: readonly string[]): void {
    const rows = this.#output.rows || ROWS;
    const text = lines
      .slice(0, rows)
      .map((line) => ERASE_LINE + line) // behind a line as wide as the screen it would erase the last character
      .join("\r\n");
    // Writes nothing if the text is shown already, or while a slow terminal has not taken the last one.
    if (text === this.#shown || this.#output.writableNeedDrain) return;
    this.#shown = text;
    this.#output.write(HOME + text + ERASE_BELOW);
  }

  [Symbol.dispose](): void {
    if (this.#isOver) return;
    this.#isOver = true;
    process.off("exit", this.#leave);
    this.#output.write(LEAVE);
    if (!this.#input.isTTY) return;
    this.#input.setRawMode(false);
    this.#input.pause();
  }

  #erase(): void {
    this.#shown = "";
    if (!this.#isOver) this.#output.write(HOME + ERASE_BELOW);
  }
}
