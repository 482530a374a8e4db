// What a kill run's journal must not show. Pure. The rules are what docs/PEER-PROTOCOL.md ("Left messages") promises.

/** A line of the journal, in the order in which things happened. */
export interface Line {
  readonly did:
    | "begins"
    | "kept"
    | "has sent all"
    | "shows"
    | "logs"
    | "looks in vain"
    | "receipt"
    | "dies"
    | "is killed"
    | "serves"
    | "is on";
  /** Number of the message, by its text. */
  readonly n?: number;
  readonly id?: string;
  readonly again?: boolean;
  readonly state?: string;
  readonly who?: string;
  readonly at?: string;
}

export type Rule = "lost" | "twice" | "shown though logged" | "order" | "foreign" | "receipt" | "left behind" | "stuck";

export interface Violation {
  readonly rule: Rule;
  readonly text: string;
}

/** @param remains files in the mailbox at the end; null: the run did not come to its end in time */
export function check(lines: readonly Line[], remains: readonly string[] | null): Violation[] {
  const found: Violation[] = [];
  const say = (rule: Rule, text: string): void => void found.push({ rule, text });
  const kept = new Set<number>();
  const begun = new Set<string>();
  const logged = new Set<string>();
  const unknown = new Set<string>();
  /** By number: shown, and shown without the mark. */
  const shown = new Map<number, { all: number; unmarked: number }>();
  let highest = -1;
  for (const { did, n = -1, id = "", again = false, state } of lines) {
    if (did === "begins") begun.add(id);
    else if (did === "kept") kept.add(n);
    else if (did === "logs") logged.add(id);
    else if (did === "looks in vain") unknown.add(id);
    else if (did === "receipt") {
      if (!logged.has(id) || state !== "delivered")
        say("receipt", `${id} is ${state}, and was ${logged.has(id) ? "" : "not "}shown`);
    } else if (did === "shows") {
      const count = shown.get(n) ?? { all: 0, unmarked: 0 };
      shown.set(n, count);
      if (!begun.has(id)) say("foreign", `${n} (${id}) was never sent`);
      // Where the log does not answer in time, the mark is what a reader has.
      if (logged.has(id) && !(again && unknown.has(id))) say("shown though logged", `${n} (${id})`);
      if (count.all === 0 && n < highest) say("order", `${n} after ${highest}`);
      highest = Math.max(highest, n);
      count.all++;
      if (!again) count.unmarked++;
      if (count.all > 1 && !again) say("twice", `${n}, the ${count.all}. time without the mark`);
    }
  }
  for (const n of kept) if (!shown.has(n)) say("lost", `${n} was kept, and never shown`);
  if (remains === null) say("stuck", "not everything was sent and shown in time");
  else if (remains.length > 0) say("left behind", remains.join(", "));
  return found;
}
