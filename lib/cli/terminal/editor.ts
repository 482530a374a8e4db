// Keys in, edited line and intentions out: what each key means. Pure; knows neither screen nor streams.
import { type Completion, Cycle, complete, inTurn, isNothingTyped, nameBefore } from "./completion.ts";
import { History } from "./history.ts";
import type { Key } from "./keys.ts";
import * as edit from "./line.ts";
import { snap } from "./width.ts";

/** What the terminal has to do after a key. */
export type Intention =
  | { readonly type: "redraw" }
  | { readonly type: "submit"; readonly line: string }
  | { readonly type: "choices"; readonly choices: readonly string[] }
  | { readonly type: "bell" }
  /** Completes when this is fulfilled, if the line is still the same: press Tab again. */
  | { readonly type: "ask"; readonly answer: Promise<void> }
  /** `cleared`: a half-typed line is gone; Ctrl-Y brings it back. */
  | { readonly type: "interrupt"; readonly cleared: boolean }
  | { readonly type: "suspend" }
  | { readonly type: "clear" }
  | { readonly type: "end" };

export interface CompletionSource {
  readonly commands: readonly string[];
  /** Behind a slash. */
  readonly slashCommands: readonly string[];
  /** Names that come first when Tab goes through all, in their order. */
  readonly partners: () => Iterable<string>;
  /** What stands before a name on an empty line. */
  readonly prefix: () => string;
  readonly names: () => Iterable<string>;
  /** Learns the names that begin so, from elsewhere. Null: those that are known will do. The promise does not reject. */
  readonly ask?: (beginning: string) => Promise<void> | null;
  /** More names begin so than it has learnt. */
  readonly isPartial?: (beginning: string) => boolean;
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

/** Code units that are searched for: they stand in the prompt. */
const SEARCH_LIMIT = 200;

/** A search through the lines entered before: Ctrl-R. */
interface Search {
  readonly text: string;
  /** Place of the line that is shown; undefined: none holds the text. */
  readonly at: number | undefined;
  /** The editor's line before the search. */
  readonly before: edit.Line;
}

const REDRAW: Intention = { type: "redraw" };
const BELL: Intention = { type: "bell" };

export class Editor {
  #line = edit.EMPTY;
  readonly #history = new History();
  readonly #completion: CompletionSource;
  #search: Search | undefined;
  /** Tab has been pressed, and nothing else since. */
  #cycle: Cycle | undefined;

  constructor(completion: CompletionSource) {
    this.#completion = completion;
  }

  get text(): string {
    return this.#line.text;
  }
  get cursor(): number {
    return this.#line.cursor;
  }

  /** Stands in the prompt's place during a search. */
  get searchPrompt(): string | undefined {
    if (this.#search === undefined) return undefined;
    return `${this.#search.at === undefined ? "no line with" : "search"} "${this.#search.text}": `;
  }

  press(key: Key): Intention {
    if (this.#search !== undefined) {
      const intention = this.#pressInSearch(key, this.#search);
      if (intention !== null) return intention;
    }
    const isTab = key.type === "key" && (key.name === "tab" || key.name === "shift-tab");
    if (!isTab) this.#cycle = undefined;
    if (key.type === "paste" && key.whole) return this.#insert(key.text.replace(/\n+$/, "")); // no empty line at its end
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
      case "shift-tab":
        return this.#step(-1);
      case "ctrl-r":
        this.#search = { text: "", at: undefined, before: this.#line };
        return this.#searchFor("", undefined);
      case "ctrl-c":
        return this.#clear();
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

  /** @returns null for a key that ends the search and does what it does */
  #pressInSearch(key: Key, search: Search): Intention | null {
    if (key.type !== "key") {
      const [added = ""] = key.text.split("\n");
      return this.#searchFor((search.text + added).slice(0, SEARCH_LIMIT), search.at);
    }
    switch (key.name) {
      case "ctrl-r":
        return this.#searchFor(search.text, search.at === undefined ? undefined : search.at - 1);
      case "backspace":
        return this.#searchFor([...search.text].slice(0, -1).join(""), undefined);
      case "ctrl-c":
      case "ctrl-g":
        this.#search = undefined;
        return this.#set(search.before);
      case "enter":
      case "escape":
        // Not sent yet: during the search, the prompt did not name the receiver.
        this.#search = undefined;
        return REDRAW;
      default:
        this.#search = undefined;
        return null;
    }
  }

  /** Shows the latest line that holds the text, from that place back; the one that is shown stays if there is no other. */
  #searchFor(text: string, from: number | undefined): Intention {
    const search = this.#search as Search;
    const found = text === "" ? undefined : this.#history.find(text, from);
    if (found === undefined && text === search.text && search.at !== undefined) return BELL;
    this.#search = { ...search, text, at: found?.at };
    if (text === "" || found === undefined) this.#line = search.before;
    else
      this.#line = { ...edit.replace(search.before, found.line), cursor: snap(found.line, found.line.indexOf(text)) };
    return text !== "" && found === undefined ? BELL : REDRAW;
  }

  /** Ctrl-Y brings the text back. */
  #clear(): Intention {
    const { text, cut } = this.#line;
    this.#line = { ...edit.EMPTY, cut: text === "" ? cut : text };
    return { type: "interrupt", cleared: text !== "" };
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
    if (this.#cycle !== undefined) return this.#step(1);
    const { text, cursor } = this.#line;
    const { commands, slashCommands, names, ask, isPartial, partners, prefix, fold } = this.#completion;
    const typed = text.slice(0, cursor);
    const name = nameBefore(typed);
    const answer = name === null ? null : ask?.(name);
    if (answer) return { type: "ask", answer };
    if (isNothingTyped(typed)) {
      this.#cycle = new Cycle(typed, text.slice(cursor), inTurn(partners(), names(), fold), prefix());
      return this.#step(1);
    }
    const words = /^\s*\//.test(typed) ? slashCommands : commands;
    const some = name !== null && isPartial?.(name) === true;
    const { before, choices }: Completion = complete(typed, words, names(), fold, some);
    if (before === undefined) return BELL;
    if (choices.length > 0 && before === typed) {
      const fitting = new Set(choices);
      const first = [...partners()].filter((name) => fitting.has(name));
      this.#cycle = new Cycle(typed, text.slice(cursor), inTurn(first, choices, fold), "");
    }
    const changed = before !== text.slice(0, cursor);
    const after = before.endsWith(" ") ? text.slice(cursor).replace(/^ /, "") : text.slice(cursor);
    this.#line = { ...this.#line, text: before + after, cursor: before.length };
    return choices.length > 0 && !changed ? { type: "choices", choices } : REDRAW;
  }

  /** The next of all that Tab could mean. */
  #step(by: 1 | -1): Intention {
    const next = this.#cycle?.step(by) ?? null;
    return next === null ? BELL : this.#set({ ...this.#line, ...next });
  }

  #set(line: edit.Line): Intention {
    this.#line = line;
    return REDRAW;
  }
}
