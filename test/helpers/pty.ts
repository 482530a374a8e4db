// A real pseudo-terminal with a program in it, and the screen a person would see: node-pty and xterm's own emulator.
import { readSync } from "node:fs";
import type { ReadStream } from "node:tty";
import xterm from "@xterm/headless";
import { type IPty, spawn } from "node-pty";

const WATCHDOG_MS = 30_000;
const LOOK_EVERY_MS = 10;

export interface PtyOptions {
  readonly columns?: number;
  readonly rows?: number;
  readonly env?: Readonly<Record<string, string>>;
}

export class Pty implements Disposable {
  readonly #pty: IPty;
  readonly #screen: InstanceType<typeof xterm.Terminal>;
  #destroy: ReadStream["destroy"] = () => {
    throw new Error("not open");
  };
  readonly ended: Promise<{ exitCode: number; signal: number }>;
  /** Everything the program has written, control sequences included. */
  raw = "";

  constructor(file: string, args: readonly string[], { columns = 60, rows = 12, env = {} }: PtyOptions = {}) {
    this.#screen = new xterm.Terminal({ cols: columns, rows, scrollback: 1000, allowProposedApi: true });
    const inherited = Object.entries(process.env).filter((e): e is [string, string] => e[1] !== undefined);
    const full = { ...Object.fromEntries(inherited), TERM: "xterm-256color", LANG: "C.UTF-8", NO_COLOR: "", ...env };
    this.#pty = spawn(file, [...args], { name: full.TERM, cols: columns, rows, cwd: process.cwd(), env: full });
    this.#pty.onData((data) => this.#take(data));
    this.#screen.onData((answer) => this.#pty.write(answer));
    this.#readToTheEnd();
    this.ended = new Promise((resolve) => {
      // Once all of it is on the screen: the emulator draws a moment later.
      this.#pty.onExit(({ exitCode, signal = 0 }) => this.#screen.write("", () => resolve({ exitCode, signal })));
    });
  }

  get pid(): number {
    return this.#pty.pid;
  }

  type(keys: string): void {
    this.#pty.write(keys);
  }

  resize(columns: number, rows: number): void {
    this.#screen.resize(columns, rows);
    this.#pty.resize(columns, rows);
  }

  /**
   * Where this process was held up, node-pty closes the terminal 200 ms after the program's end, and libuv takes the hang-up for the end of
   * what can be read, though the kernel gives 4 KiB at once and has more.
   */
  #readToTheEnd(): void {
    const { _socket: socket } = this.#pty as unknown as { _socket: ReadStream };
    const { fd } = this.#pty as unknown as { fd: number };
    this.#destroy = socket.destroy.bind(socket);
    socket.destroy = (error) => {
      if (!error && !socket.readableEnded) return socket;
      const bytes = Buffer.alloc(4096);
      try {
        for (let n = readSync(fd, bytes); n > 0; n = readSync(fd, bytes)) this.#take(bytes.toString("utf8", 0, n));
      } catch {
        // EIO: that was all.
      }
      return this.#destroy(error);
    };
  }

  #take(data: string): void {
    this.raw += data;
    this.#screen.write(data);
  }

  /** The terminal is closed, as by a window manager or a lost connection: SIGHUP, then end of input and errors. */
  hangUp(): void {
    this.#destroy();
  }

  /** All lines, scrolled away or not, without trailing blanks; wrapped rows joined as the terminal knows them. */
  lines(): string[] {
    const buffer = this.#screen.buffer.active;
    const lines: string[] = [];
    for (let y = 0; y < buffer.length; y++) {
      const row = buffer.getLine(y);
      const text = row?.translateToString(true) ?? "";
      if (row?.isWrapped) lines[lines.length - 1] += text;
      else lines.push(text);
    }
    while (lines.at(-1) === "") lines.pop();
    return lines;
  }

  /** The rows on the screen now. */
  rows(): string[] {
    const buffer = this.#screen.buffer.active;
    return Array.from(
      { length: this.#screen.rows },
      (_, y) => buffer.getLine(buffer.baseY + y)?.translateToString(true) ?? "",
    );
  }

  /** The cursor's row (as text) and the columns left of it. */
  cursor(): { readonly row: string; readonly column: number } {
    const { baseY, cursorX, cursorY } = this.#screen.buffer.active;
    return { row: this.#screen.buffer.active.getLine(baseY + cursorY)?.translateToString(true) ?? "", column: cursorX };
  }

  /** Waits until `wanted` holds of the screen. */
  async until(wanted: (screen: this) => boolean): Promise<void> {
    const end = Date.now() + WATCHDOG_MS;
    while (!wanted(this)) {
      if (Date.now() > end)
        throw new Error(`the screen never showed what was expected: ${wanted}\n${this.lines().join("\n")}`);
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  }

  /** Waits for a line that contains the text or matches. */
  async shows(wanted: string | RegExp): Promise<void> {
    await this.until((s) =>
      s.lines().some((line) => (typeof wanted === "string" ? line.includes(wanted) : wanted.test(line))),
    );
  }

  [Symbol.dispose](): void {
    try {
      this.#pty.kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
    this.#screen.dispose();
  }
}
