// Tab: completes a command, a name, or the last of several names, at the beginning of the line, and names behind @, /to and the
// like. Pressed again it goes through all that it could be. Pure.

export interface Completion {
  /** Replaces the line's text before the cursor; undefined when nothing fits. */
  readonly before?: string;
  /** What it could be, when it is not clear; to be shown. */
  readonly choices: readonly string[];
}

/** Choices shown at once. */
export const CHOICES_LIMIT = 60;

/** The text before a word that can be completed, and the beginning of the word. */
const WORD = /^(\s*(?:\/(?:to|msg|ignore|unignore|wait|leave|cancel)\s+|@|\/|(?:[^\s,/@]+,)*))([^\s,/@]*)$/iu;

/** The beginning of the name that is being written; null where no name can stand. */
export function nameBefore(before: string): string | null {
  const [, head = "", typed] = WORD.exec(before) ?? [];
  return typed === undefined || head.endsWith("/") ? null : typed;
}

/**
 * @param before the line's text left of the cursor
 * @param fold the form in which names are compared
 * @param isPartial more names fit than these, so what they have in common says nothing
 */
export function complete(
  before: string,
  commands: readonly string[],
  names: Iterable<string>,
  fold: (text: string) => string,
  isPartial = false,
): Completion {
  const word = WORD.exec(before);
  if (word === null) return { choices: [] };
  const [, head = "", typed = ""] = word;
  const onlyCommands = head.endsWith("/");
  const onlyNames = head.includes(",") || /[@\s]$/u.test(head);
  const candidates = [...(onlyNames ? [] : commands), ...(onlyCommands ? [] : names)];
  const wanted = fold(typed);
  const fitting = [...new Set(candidates.filter((c) => fold(c).startsWith(wanted)))].sort();
  if (fitting.length === 0) return { choices: [] };
  const [only] = fitting;
  if (fitting.length === 1) return { before: `${head}${only} `, choices: [] };
  const common = commonStart(fitting.map(fold));
  // Folding may change lengths, so what is typed is only replaced where the common start is longer.
  const longer = common.length > wanted.length && !isPartial ? common : typed;
  return { before: head + longer, choices: fitting.slice(0, CHOICES_LIMIT) };
}

/** Where Tab goes through names at once: nothing is typed of one yet. */
const NOTHING_TYPED = /^(?:|\s*@|\s*\/(?:to|msg|ignore|unignore|wait|leave|cancel)\s+)$/iu;
const WORD_START = /[^\s,/@]*$/u;

/** All that a line's beginning could be, one after the other. */
export class Cycle {
  readonly #head: string;
  readonly #after: string;
  readonly #candidates: readonly string[];
  #at: number;

  /**
   * @param before the line's text left of the cursor, and `after` right of it
   * @param candidates in the order in which they come
   * @param prefix stands before each on an empty line
   */
  constructor(before: string, after: string, candidates: readonly string[], prefix: string) {
    this.#head = before === "" ? prefix : before.replace(WORD_START, "");
    this.#after = after;
    this.#candidates = candidates;
    this.#at = -1;
  }

  /** The next line (or with -1 the one before), and the cursor in it. */
  step(by: 1 | -1): { readonly text: string; readonly cursor: number } | null {
    const count = this.#candidates.length;
    if (count === 0) return null;
    this.#at = this.#at === -1 && by === -1 ? count - 1 : (this.#at + by + count) % count;
    const before = `${this.#head}${this.#candidates[this.#at]} `;
    return { text: before + this.#after, cursor: before.length };
  }
}

export const isNothingTyped = (before: string): boolean => NOTHING_TYPED.test(before);

/** Partners in their order, then the other names in theirs; each once. */
export function inTurn(partners: Iterable<string>, names: Iterable<string>, fold: (text: string) => string): string[] {
  const found = new Map<string, string>();
  for (const name of [...partners, ...[...names].sort()]) if (!found.has(fold(name))) found.set(fold(name), name);
  return [...found.values()];
}

function commonStart(words: readonly string[]): string {
  let [start = ""] = words;
  for (const word of words) while (!word.startsWith(start)) start = start.slice(0, -1);
  return start;
}
