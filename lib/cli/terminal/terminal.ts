// A person's terminal: raw mode, keys to the editor, the editor's block on the screen, stop and continue, resize, and the
// terminal as it was when we leave. Should not know anything about messages.
import type { ReadStream, WriteStream } from "node:tty";
import { escapeControls } from "../escape-controls.ts";
import { type CompletionSource, Editor, type Intention } from "./editor.ts";
import { type Key, KeyDecoder } from "./keys.ts";
import { Screen, type ScreenStyle } from "./screen.ts";

const PASTE_ON = "\x1b[?2004h";
const PASTE_OFF = "\x1b[?2004l";
const BELL = "\x07";
/** Ms without input after which what comes is a key that somebody has pressed: pieces of a paste follow each other faster. */
const KEY_GAP_MS = 50;
/** Size assumed where the terminal has none (0 columns, as some serial lines say). */
export const DEFAULT_COLUMNS = 80;
const DEFAULT_ROWS = 24;

export interface TerminalOptions {
  readonly input: ReadStream;
  readonly output: WriteStream;
  readonly prompt: string;
  readonly style: ScreenStyle;
  readonly completion: CompletionSource;
  readonly onLine: (line: string) => void;
  /** End of input: Ctrl-D on an empty line, or the terminal is gone. */
  readonly onEnd: () => void;
  /** Ctrl-C. @param cleared a half-typed line is gone */
  readonly onInterrupt: (cleared: boolean) => void;
  /** The end of a paste has not arrived: what did arrive stands in the line. */
  readonly onCutPaste: () => void;
}

export class Terminal implements Disposable {
  readonly #options: TerminalOptions;
  readonly #keys = new KeyDecoder();
  readonly #editor: Editor;
  readonly #screen: Screen;
  #status: readonly string[] = [];
  #prompt: string;
  #inputAt = Number.NEGATIVE_INFINITY;
  #flushTimer: NodeJS.Timeout | undefined;
  #flushing: NodeJS.Immediate | undefined;
  #open = false;

  constructor(options: TerminalOptions) {
    this.#options = options;
    this.#prompt = options.prompt;
    this.#editor = new Editor(options.completion);
    const { output } = options;
    this.#screen = new Screen(
      {
        get columns() {
          return output.columns || DEFAULT_COLUMNS;
        },
        get rows() {
          return output.rows || DEFAULT_ROWS;
        },
        write: (text, done) => output.write(text, done),
      },
      options.style,
    );
  }

  open(): void {
    const { input, output } = this.#options;
    this.#open = true;
    input.on("error", () => {}); // also after we have left: of a terminal that has gone
    input.on("data", this.#onData).on("end", this.#options.onEnd).on("error", this.#options.onEnd);
    output.on("resize", this.#onResize);
    process.on("SIGTSTP", this.#onStop).on("SIGCONT", this.#onContinue);
    process.on("exit", this.#onExit);
    this.#enter();
  }

  /** Gives the terminal back as it was; what was printed stays. */
  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    const { input, output, onEnd } = this.#options;
    this.#cancelFlush();
    input.off("data", this.#onData).off("end", onEnd).off("error", onEnd);
    output.off("resize", this.#onResize);
    process.off("SIGTSTP", this.#onStop).off("SIGCONT", this.#onContinue).off("exit", this.#onExit);
    this.#leave();
    input.pause();
  }

  /** Prints lines above the prompt; fulfilled once the terminal has them. */
  print(lines: readonly string[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#screen.print(lines, (error) => (error ? reject(error) : resolve()));
    });
  }

  ring(): void {
    this.#options.output.write(BELL);
  }

  /** Sets the rows between what was printed and the prompt. */
  setStatus(rows: readonly string[]): void {
    this.#status = rows;
    this.#redraw();
  }

  setPrompt(prompt: string): void {
    this.#prompt = prompt;
    this.#redraw();
  }

  /** Puts a line back that was entered, unless another one is begun already. */
  restore(line: string): void {
    this.#editor.restore(line);
    this.#redraw();
  }

  #enter(): void {
    this.#options.input.setRawMode(true);
    this.#options.input.resume();
    this.#options.output.write(PASTE_ON);
    this.#redraw();
  }

  #leave(): void {
    this.#screen.hide();
    this.#options.output.write(PASTE_OFF);
    this.#options.input.setRawMode(false);
  }

  #redraw(): void {
    if (!this.#open) return;
    const { text, cursor, searchPrompt } = this.#editor;
    const prompt = searchPrompt === undefined ? this.#prompt : escapeControls(searchPrompt);
    this.#screen.show({ status: this.#status, prompt, text, cursor });
  }

  readonly #onData = (bytes: Uint8Array): void => {
    const now = performance.now();
    const isAlone = now - this.#inputAt >= KEY_GAP_MS;
    this.#inputAt = now;
    this.#cancelFlush();
    this.#pressAll(this.#keys.feed(bytes, isAlone));
    const { patienceMs } = this.#keys;
    if (patienceMs === undefined) return;
    // Only after what has come meanwhile is read: a program that was stopped finds its timers due.
    const flush = (): void => this.#pressAll(this.#keys.flush());
    this.#flushTimer = setTimeout(() => {
      this.#flushing = setImmediate(flush);
    }, patienceMs);
  };

  #cancelFlush(): void {
    clearTimeout(this.#flushTimer);
    clearImmediate(this.#flushing);
  }

  // One redraw for all the keys that came together: a paste of 64 KiB is drawn once.
  #pressAll(keys: readonly Key[]): void {
    for (const key of keys) {
      this.#obey(this.#editor.press(key));
      if (key.type === "paste" && !key.whole) this.#options.onCutPaste();
    }
    this.#redraw();
  }

  #obey(intention: Intention): void {
    if (intention.type === "submit") this.#options.onLine(intention.line);
    else if (intention.type === "choices")
      this.print([intention.choices.map(escapeControls).join("  ")]).catch(() => {});
    else if (intention.type === "ask") this.#completeAfter(intention.answer);
    else if (intention.type === "bell") this.#options.output.write(BELL);
    else if (intention.type === "interrupt") this.#options.onInterrupt(intention.cleared);
    // As the terminal itself would in cooked mode: to the whole foreground process group.
    else if (intention.type === "suspend") process.kill(0, "SIGTSTP");
    else if (intention.type === "clear") this.#screen.repaint();
    else if (intention.type === "end") this.#options.onEnd();
  }

  /** Unless the person has gone on: what comes late changes no line. */
  #completeAfter(answer: Promise<void>): void {
    const { text, cursor } = this.#editor;
    void answer.then(() => {
      const isSame = this.#editor.text === text && this.#editor.cursor === cursor;
      if (this.#open && isSame) this.#pressAll([{ type: "key", name: "tab" }]);
    });
  }

  readonly #onResize = (): void => this.#screen.resized();

  // Only the default action knows whether anybody can continue us: in a process group of which nobody can (a session's leader, as
  // in a terminal window of its own; process 1 of a container) the kernel passes the signal over, where SIGSTOP would be the end.
  readonly #onStop = (): void => {
    this.#leave();
    process.off("SIGTSTP", this.#onStop);
    process.kill(process.pid, "SIGTSTP"); // returns when we go on
    process.on("SIGTSTP", this.#onStop);
    this.#onContinue();
  };

  readonly #onContinue = (): void => {
    if (!this.#open) return;
    // After SIGSTOP from elsewhere the shell has changed the modes behind our back: turn raw off and on again.
    this.#options.input.setRawMode(false);
    this.#enter();
  };

  readonly #onExit = (): void => this.#leave();
}
