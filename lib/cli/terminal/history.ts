// Lines entered before, walked with the arrows; the line being written waits at the end. In memory only: what people
// say to each other is not written to disk. Pure.

/** Lines kept. */
const HISTORY_LIMIT = 500;

export class History {
  #lines: string[] = [];
  #at = 0;
  #draft = "";

  /** Remembers an entered line; the walk starts over. Blank lines and immediate repeats are left out. */
  add(line: string): void {
    if (line.trim() !== "" && this.#lines.at(-1) !== line) this.#lines.push(line);
    if (this.#lines.length > HISTORY_LIMIT) this.#lines.shift();
    this.#at = this.#lines.length;
    this.#draft = "";
  }

  /** The latest line, from this one back, that holds the text. @param from its place; left out: the last one */
  find(text: string, from = this.#lines.length - 1): { readonly line: string; readonly at: number } | undefined {
    for (let at = Math.min(from, this.#lines.length - 1); at >= 0; at--) {
      const line = this.#lines[at] as string;
      if (line.includes(text)) return { line, at };
    }
    return undefined;
  }

  /** The line before; undefined at the first. @param current what is in the editor now */
  older(current: string): string | undefined {
    if (this.#at === 0) return undefined;
    if (this.#at === this.#lines.length) this.#draft = current;
    this.#at--;
    return this.#lines[this.#at];
  }

  /** The line after, and after the last the one being written; undefined there. */
  newer(): string | undefined {
    if (this.#at === this.#lines.length) return undefined;
    this.#at++;
    return this.#at === this.#lines.length ? this.#draft : this.#lines[this.#at];
  }
}
