// Bytes of a terminal in raw mode as keys. A pure incremental decoder: feed it what arrives, in whatever pieces.
// Sequences: ECMA-48 control sequences, xterm's function keys (ctlseqs), bracketed paste.
import { StringDecoder } from "node:string_decoder";

export type Key =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "paste"; readonly text: string }
  /** "enter", "tab", "up", "ctrl-c", "alt-b", "ctrl-left" … */
  | { readonly type: "key"; readonly name: string };

const ESC = "\x1b";
const PASTE_START = `${ESC}[200~`;
const PASTE_END = `${ESC}[201~`;
/** Longest control sequence that is waited for, in characters; anything longer is noise and dropped. */
const SEQUENCE_LIMIT = 64;
/** Longest paste kept, in code units; what exceeds it is dropped and the line's own limit reports it. */
const PASTE_LIMIT = 200_000;

const FINAL: Readonly<Record<string, string>> = {
  A: "up",
  B: "down",
  C: "right",
  D: "left",
  H: "home",
  F: "end",
  Z: "shift-tab",
};
const TILDE: Readonly<Record<string, string>> = { 1: "home", 3: "delete", 4: "end", 7: "home", 8: "end" };
const CONTROL: Readonly<Record<string, string>> = {
  "\r": "enter",
  "\n": "enter",
  "\t": "tab",
  "\x7f": "backspace",
  "\b": "backspace",
};

// ESC [ parameters intermediates final (ECMA-48 5.4), ESC O final (SS3), ESC [ [ letter (the Linux console).
const CSI = new RegExp(`^${ESC}\\[([0-?]*)[ -/]*([@-~])`);
const SS3 = new RegExp(`^${ESC}O([ -~])`);
const CONSOLE = new RegExp(`^${ESC}\\[\\[[A-E]`);
const BEGUN = new RegExp(`^${ESC}(\\[|O|$)`);
const TEXT = /^\P{Cc}+/u;

export class KeyDecoder {
  readonly #utf8 = new StringDecoder("utf8");
  #pending = "";
  #paste: string | undefined;

  /** True while an unfinished sequence waits; the caller then calls {@link flush} if nothing more comes soon. */
  get waiting(): boolean {
    return this.#pending !== "" && this.#paste === undefined;
  }

  feed(bytes: Uint8Array): Key[] {
    this.#pending += this.#utf8.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    return this.#take(false);
  }

  /** What waits is all there is: a lone ESC is the Escape key, half a sequence is dropped. */
  flush(): Key[] {
    return this.#paste === undefined ? this.#take(true) : [];
  }

  #take(final: boolean): Key[] {
    const keys: Key[] = [];
    while (this.#pending !== "") {
      const before = this.#pending;
      const key = this.#paste === undefined ? this.#next(final) : this.#pasted();
      if (key !== undefined) keys.push(key);
      if (this.#pending === before) break; // incomplete
    }
    return keys;
  }

  #next(final: boolean): Key | undefined {
    const text = TEXT.exec(this.#pending)?.[0];
    if (text !== undefined) return this.#consume(text, { type: "text", text });
    const first = this.#pending[0] as string;
    if (first !== ESC) return this.#consume(first, control(first));
    return this.#escape(final);
  }

  #escape(final: boolean): Key | undefined {
    const rest = this.#pending;
    if (rest.startsWith(PASTE_START)) {
      this.#paste = "";
      return this.#consume(PASTE_START);
    }
    const linux = CONSOLE.exec(rest);
    if (linux !== null) return this.#consume(linux[0]);
    const csi = CSI.exec(rest);
    if (csi !== null) return this.#consume(csi[0], sequence(csi[1] ?? "", csi[2] ?? ""));
    const ss3 = SS3.exec(rest);
    if (ss3 !== null) return this.#consume(ss3[0], named(FINAL[ss3[1] ?? ""]));
    if (BEGUN.test(rest) && !final && rest.length <= SEQUENCE_LIMIT) return undefined;
    if (rest.length === 1) return this.#consume(rest, { type: "key", name: "escape" });
    if (rest[1] === "[" || rest[1] === "O") return this.#consume(rest.slice(0, SEQUENCE_LIMIT));
    if (rest[1] === ESC) return this.#consume(ESC, { type: "key", name: "escape" });
    const [, character = ""] = [...rest];
    const key = control(character);
    return this.#consume(ESC + character, { type: "key", name: `alt-${key?.type === "key" ? key.name : character}` });
  }

  #pasted(): Key | undefined {
    const end = this.#pending.indexOf(PASTE_END);
    // Without an end, keep back what may be the beginning of one.
    const length = end === -1 ? Math.max(0, this.#pending.length - PASTE_END.length + 1) : end;
    this.#paste = ((this.#paste ?? "") + this.#pending.slice(0, length)).slice(0, PASTE_LIMIT);
    this.#pending = this.#pending.slice(length);
    if (end === -1) return undefined;
    const text = this.#paste.replace(/\r\n?/g, "\n");
    this.#paste = undefined;
    return this.#consume(PASTE_END, { type: "paste", text });
  }

  #consume(taken: string, key?: Key): Key | undefined {
    this.#pending = this.#pending.slice(taken.length);
    return key;
  }
}

function control(character: string): Key | undefined {
  const name = CONTROL[character];
  if (name !== undefined) return named(name);
  const code = character.codePointAt(0) ?? 0;
  if (code >= 0x20) return undefined;
  return named(`ctrl-${String.fromCharCode(code + 0x60)}`);
}

// xterm: the second parameter is 1 + a bit mask of modifiers: 1 shift, 2 alt, 4 ctrl.
function sequence(parameters: string, final: string): Key | undefined {
  const [first = "", modifiers = "1"] = parameters.split(";");
  const name = final === "~" ? TILDE[first] : FINAL[final];
  if (name === undefined) return undefined;
  const mask = Number(modifiers) - 1;
  return named(`${mask & 4 ? "ctrl-" : ""}${mask & 2 ? "alt-" : ""}${name}`);
}

function named(name: string | undefined): Key | undefined {
  return name === undefined ? undefined : { type: "key", name };
}
