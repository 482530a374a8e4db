// The terminal that the server was started from: asked a question, and given up at the end.
import { closeSync, constants, openSync, readFileSync } from "node:fs";
import { ReadStream } from "node:tty";
import { sigaction } from "../ipc/index.ts";
import { discardInput } from "../ipc/terminal.ts";
import type { ConfirmPrompt } from "./confirm-prompt.ts";
import { writeOrForget } from "./log.ts";

const { O_RDWR, O_NOCTTY, O_NONBLOCK } = constants;
const FLAGS = O_RDWR | O_NOCTTY | O_NONBLOCK; // a terminal that Ctrl-S has stopped does not stop us

/**
 * Opened for one question, wherever our streams lead. The terminal edits the line: it is never in raw mode, so Ctrl-C stays a
 * signal, and nothing has to be put back, however we end.
 */
export class TtyPrompt implements ConfirmPrompt {
  readonly atTerminal = true;
  readonly #fd: number;
  readonly #background: Disposable;
  #input: ReadStream | null = null;
  #line = "";

  private constructor(fd: number, background: Disposable) {
    this.#fd = fd;
    this.#background = background;
  }

  /** Null in the background, where reading would stop us, and without a terminal. */
  static open(): TtyPrompt | null {
    if (!inForeground()) return null;
    // Put into the background while it asks, we would be stopped for reading; ignored, that is an error.
    const background = sigaction("SIGTTIN", "ignore");
    try {
      const fd = openSync("/dev/tty", FLAGS);
      discardInput(fd); // typed before there was a question, it is no answer
      return new TtyPrompt(fd, background);
    } catch {
      background[Symbol.dispose]();
      return null; // it has gone
    }
  }

  print(text: string): void {
    writeOrForget(this.#fd, text);
  }

  readLine(done: (line: string | null) => void): void {
    const none = () => done(null);
    try {
      this.#input = openInput();
    } catch {
      none();
      return;
    }
    this.#input
      .setEncoding("utf8")
      .on("data", (text: string) => {
        this.#line += text;
        const end = this.#line.search(/[\r\n]/);
        if (end !== -1) done(this.#line.slice(0, end));
      })
      .once("end", none)
      .once("error", none);
  }

  release(): void {
    this.#background[Symbol.dispose]();
    this.#input
      ?.removeAllListeners()
      .on("error", () => {})
      .destroy();
    closeSync(this.#fd);
  }
}

/** A descriptor of its own: libuv opens most terminals once more, and does not close the one that it was given. */
function openInput(): ReadStream {
  const fd = openSync("/dev/tty", FLAGS);
  const input = new ReadStream(fd);
  const { _handle } = input as unknown as { _handle?: { fd?: number } };
  if (_handle?.fd !== fd) closeSync(fd);
  return input;
}

/** A background process that reads from the terminal is stopped by it (setpgid(2)). */
function inForeground(): boolean {
  try {
    // /proc/PID/stat behind the command's closing parenthesis: state, ppid, pgrp, session, tty_nr, tpgid
    const stat = readFileSync("/proc/self/stat", "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[2] === fields[5];
  } catch {
    return true;
  }
}
