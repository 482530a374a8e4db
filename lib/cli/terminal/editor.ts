// Keys in, edited line and intentions out: what each key means. Pure; knows neither screen nor streams.
import { type Completion, complete } from "./completion.ts";
import { History } from "./history.ts";
import type { Key } from "./keys.ts";
import * as edit from "./line.ts";

/** What the terminal has to do after a key. */
export type Intention =
  | { readonly type: "redraw" }
  | { readonly type: "submit"; readonly line: string }
  | { readonly type: "choices"; readonly choices: readonly string[] }
  | { readonly type: "bell" }
  | { readonly type: "interrupt" }
  | { readonly type: "suspend" }
  | { readonly type: "clear" }
  | { readonly type: "end" };

export interface CompletionSource {
  readonly commands: readonly string[];
  readonly names: () => Iterable<string>;
  /** The form in which names are compared. */
  readonly fold: (text: string) => string;
}

const EDITS: Readonly<Record<string, (line: edit.Line) => edit.Line>> = {
  left: edit.left,
  "ctrl-b": edit.left,
  right: edit.right,
  "ctrl-f": edit.right,
  home: edit.home,
  "ctrl-a": edit.home,
  end: edit.end,
  "ctrl-e": edit.end,
  "ctrl-left": edit.wordLeft,
  "alt-left": edit.wordLeft,
  "alt-b": edit.wordLeft,
  "ctrl-right": edit.wordRight,
  "alt-right": edit.wordRight,
  "alt-f": edit.wordRight,
  backspace: edit.backspace,
  delete: edit.del,
  "ctrl-d": edit.del,
  "ctrl-u": edit.cutToStart,
  "ctrl-k": edit.cutToEnd,
  "ctrl-w": edit.cutWordLeft,
  "alt-backspace": edit.cutWordLeft,
  "alt-d": edit.cutWordRight,
  "ctrl-y": edit.yank,
};

const REDRAW: Intention = { type: "redraw" };
const BELL: Intention = { type: "bell" };

export class Editor {
  #line = edit.EMPTY;
  readonly #history = new History();
  readonly #completion: CompletionSource;

  constructor(completion: CompletionSource) {
    this.#completion = completion;
  }

  get text(): string {
    return this.#line.text;
  }
  get cursor(): number {
    return this.#line.cursor;
  }

  press(key: Key): Intention {
    if (key.type !== "key") return this.#insert(key.text);
    if (key.name === "ctrl-d" && this.#line.text === "") return { type: "end" };
    const operation = EDITS[key.name];
    if (operation !== undefined) return this.#set(operation(this.#line));
    switch (key.name) {
      case "enter":
        return this.#submit();
      case "tab":
        return this.#complete();
      case "up":
      case "ctrl-p":
        return this.#recall(this.#history.older(this.#line.text));
      case "down":
      case "ctrl-n":
        return this.#recall(this.#history.newer());
      case "ctrl-c":
        return { type: "interrupt" };
      case "ctrl-z":
        return { type: "suspend" };
      case "ctrl-l":
        return { type: "clear" };
      default:
        return REDRAW;
    }
  }

  /** Puts a line into the empty editor; a half-typed one stays. */
  restore(line: string): void {
    if (this.#line.text === "") this.#line = edit.replace(this.#line, line);
  }

  #insert(text: string): Intention {
    const line = edit.insert(this.#line, text);
    return line === null ? BELL : this.#set(line);
  }

  #submit(): Intention {
    const { text } = this.#line;
    this.#history.add(text);
    this.#line = { ...edit.EMPTY, cut: this.#line.cut };
    return { type: "submit", line: text };
  }

  #recall(text: string | undefined): Intention {
    return text === undefined ? BELL : this.#set(edit.replace(this.#line, text));
  }

  #complete(): Intention {
    const { text, cursor } = this.#line;
    const { commands, names, fold } = this.#completion;
    const { before, choices }: Completion = complete(text.slice(0, cursor), commands, names(), fold);
    if (before === undefined) return BELL;
    const changed = before !== text.slice(0, cursor);
    const after = before.endsWith(" ") ? text.slice(cursor).replace(/^ /, "") : text.slice(cursor);
    this.#line = { ...this.#line, text: before + after, cursor: before.length };
    return choices.length > 0 && !changed ? { type: "choices", choices } : REDRAW;
  }

  #set(line: edit.Line): Intention {
    this.#line = line;
    return REDRAW;
  }
}
