// Tab: completes a command, a name, or the last of several names, at the beginning of the line. Pure.

export interface Completion {
  /** Replaces the line's text before the cursor; undefined when nothing fits. */
  readonly before?: string;
  /** What it could be, when it is not clear; to be shown. */
  readonly choices: readonly string[];
}

/** Choices shown at once. */
export const CHOICES_LIMIT = 60;

/**
 * @param before the line's text left of the cursor
 * @param fold the form in which names are compared
 */
export function complete(
  before: string,
  commands: readonly string[],
  names: Iterable<string>,
  fold: (text: string) => string,
): Completion {
  const word = /^(\s*(?:\/|(?:[^\s,/]+,)*))([^\s,/]*)$/u.exec(before);
  if (word === null) return { choices: [] };
  const [, head = "", typed = ""] = word;
  const onlyCommands = head.endsWith("/");
  const onlyNames = head.includes(",");
  const candidates = [...(onlyNames ? [] : commands), ...(onlyCommands ? [] : names)];
  const wanted = fold(typed);
  const fitting = [...new Set(candidates.filter((c) => fold(c).startsWith(wanted)))].sort();
  if (fitting.length === 0) return { choices: [] };
  const [only] = fitting;
  if (fitting.length === 1) return { before: `${head}${only} `, choices: [] };
  const common = commonStart(fitting.map(fold));
  // Folding may change lengths, so what is typed is only replaced where the common start is longer.
  const longer = common.length > wanted.length ? common : typed;
  return { before: head + longer, choices: fitting.slice(0, CHOICES_LIMIT) };
}

function commonStart(words: readonly string[]): string {
  let [start = ""] = words;
  for (const word of words) while (!word.startsWith(start)) start = start.slice(0, -1);
  return start;
}
