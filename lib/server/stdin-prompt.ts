// Answers from a pipe or a file: each takes one line. Reads only while a question is open.
import type { ConfirmPrompt } from "./confirm-prompt.ts";

/** Characters of an answer; what is beyond them is dropped. */
const MAX_ANSWER = 1024;

export class StdinPrompt implements ConfirmPrompt {
  readonly atTerminal = false;
  #text = "";
  #over = false;
  #done: ((line: string | null) => void) | null = null;

  constructor() {
    process.stdin
      .setEncoding("utf8")
      .on("data", (chunk: string) => {
        this.#text += chunk;
        this.#look();
      })
      .on("end", () => this.#end())
      .on("error", () => this.#end())
      .pause();
    process.stdin.unref?.(); // of a file there is none
  }

  get ended(): boolean {
    return this.#over && this.#text === "";
  }

  print(): void {} // it hears nothing

  readLine(done: (line: string | null) => void): void {
    this.#done = done;
    this.#look();
    if (this.#done !== null && !this.#over) process.stdin.resume();
  }

  release(): void {
    this.#done = null;
    process.stdin.pause();
  }

  #end(): void {
    this.#over = true;
    this.#look();
  }

  #look(): void {
    const end = this.#text.indexOf("\n");
    if (end === -1 && !this.#over) {
      this.#text = this.#text.slice(0, MAX_ANSWER);
      return;
    }
    if (this.#done === null) return;
    const line = end === -1 ? this.#text : this.#text.slice(0, end);
    const isLast = line === "" && end === -1;
    this.#text = end === -1 ? "" : this.#text.slice(end + 1);
    const done = this.#done;
    this.release();
    done(isLast ? null : line);
  }
}
