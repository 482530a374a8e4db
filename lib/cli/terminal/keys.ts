// Bytes of a terminal in raw mode as keys. A pure incremental decoder: feed it what arrives, in whatever pieces.
// Sequences: ECMA-48 control sequences, xterm's function keys (ctlseqs), bracketed paste.
import { StringDecoder } from "node:string_decoder";

export type Key =
  | { readonly type: "text"; readonly text: string }
  /** `whole`: its end has arrived. */
  | { readonly type: "paste"; readonly text: string; readonly whole: boolean }
  /** "enter", "tab", "up", "ctrl-c", "alt-b", "ctrl-left" … */
  | { readonly type: "key"; readonly name: string };

const ESC = "\x1b";
const PASTE_START = `${ESC}[200~`;
const PASTE_END = `${ESC}[201~`;
/** Longest control sequence that is waited for, in characters; anything longer is noise and dropped. */
const SEQUENCE_LIMIT = 64;
/** A lone ESC is the Escape key if nothing follows within this time (ms); slow lines send sequences in pieces. */
const ESCAPE_WAIT_MS = 100;
/** A paste of which nothing more has come for this long (ms) has lost its end: a line was cut, a program died that passed it on. */
const PASTE_WAIT_MS = 1_000;
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
/** What is pressed to get out of anything: Ctrl-C, Ctrl-D. */
const WAY_OUT = new Set(["\x03", "\x04"]);
const LINE_END = /[\r\n]/;

export class KeyDecoder {
  readonly #utf8 = new StringDecoder("utf8");
  #pending = "";
  #paste: string | undefined;
  /** A paste was cut short: what comes now may be its rest. */
  #restMayCome = false;

  /** Milliseconds after which the caller calls {@link flush} if nothing more has come; undefined when nothing waits. */
  get patienceMs(): number | undefined {
    if (this.#paste !== undefined) return PASTE_WAIT_MS;
    return this.#pending === "" ? undefined : ESCAPE_WAIT_MS;
  }

  /** @param isAlone nothing has come for a moment before: a key that somebody has pressed, not a piece of something longer */
  feed(bytes: Uint8Array, isAlone = false): Key[] {
    const text = this.#utf8.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    if (this.#paste !== undefined && isAlone && WAY_OUT.has(text)) return [this.#cutPaste()];
    this.#pending += text;
    if (this.#restMayCome && this.#paste === undefined) this.#lookForRest(isAlone);
    return this.#take(false);
  }

  // An Enter that somebody has pressed ends the matter. What comes in one piece with more is the rest: none of it is entered.
  #lookForRest(isAlone: boolean): void {
    if (!LINE_END.test(this.#pending) || this.#pending.startsWith(PASTE_START)) return;
    if (this.#pending.length > 1 || !isAlone) this.#paste = "";
    else this.#restMayCome = false;
  }

  /** What waits is all there is: a lone ESC is the Escape key, half a sequence is dropped, a paste without its end is over. */
  flush(): Key[] {
    return this.#paste === undefined ? this.#take(true) : [this.#cutPaste()];
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
    if (rest.startsWith(PASTE_END)) {
      this.#restMayCome = false;
      return this.#consume(PASTE_END);
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
    const character = String.fromCodePoint(rest.codePointAt(1) as number);
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
    this.#pending = this.#pending.slice(PASTE_END.length);
    return this.#endPaste(true);
  }

  /** Takes what there is of a paste whose end does not come, without what may be the beginning of that end. */
  #cutPaste(): Key {
    const kept = this.#pending;
    let length = kept.length;
    while (length > 0 && !PASTE_END.startsWith(kept.slice(kept.length - length))) length--;
    this.#paste = (this.#paste ?? "") + kept.slice(0, kept.length - length);
    this.#pending = "";
    return this.#endPaste(false);
  }

  #endPaste(whole: boolean): Key {
    const text = (this.#paste ?? "").replace(/\r\n?/g, "\n");
    this.#paste = undefined;
    this.#restMayCome = !whole;
    return { type: "paste", text, whole };
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
