// What a run's journals say, by what it is about: programs, messages, what was done to whom. The rules (check.ts, claims.ts) ask it.
import { type Entry, isA, type Of } from "./journal.ts";
import { partsOf } from "./texts.ts";

export interface Violation {
  readonly rule: Rule;
  readonly text: string;
  readonly lines: readonly Entry[];
}
export type Rule =
  | "lost"
  | "twice"
  | "order"
  | "unverified"
  | "identity"
  | "refused"
  | "no-such-user"
  | "given-up"
  | "unreachable"
  | "roll-call"
  | "shown-after-failed"
  | "damaged"
  | "outcome"
  | "died"
  | "not-started"
  | "hangs"
  | "people"
  | "late"
  | "owner"
  | "unbacked"
  | "ghost"
  | "removed"
  | "hidden"
  | "left-behind"
  | "descriptors"
  | "memory"
  | "cpu";

export interface Run {
  readonly start: Of<"start">;
  on?: Of<"on">;
  ending?: Of<"ending">;
  end?: Of<"end">;
}
export interface Message {
  readonly order: Of<"order">;
  readonly number: number;
  sent?: Of<"sent">;
  readonly outcomes: Of<"outcome">[];
  readonly gots: Of<"got">[];
}
export interface Disturbance {
  readonly fault: Of<"fault">;
  readonly until: number;
}

/** The entries by what they are about. */
export class Story {
  readonly runs = new Map<number, Run>();
  readonly messages = new Map<string, Message>();
  /** By sender's run and receiver, in the order of the orders. */
  readonly conversations = new Map<string, Message[]>();
  readonly strays: Of<"got">[] = [];
  readonly disturbances: Disturbance[] = [];
  readonly #runsOf = new Map<string, Run[]>();

  readonly settleMs: number;

  constructor(entries: readonly Entry[], settleMs: number) {
    this.settleMs = settleMs;
    const mended = new Map(entries.filter(isA("mended")).map(({ fault, at }) => [fault, at]));
    for (const entry of entries) {
      if (entry.type === "start") this.#start(entry);
      else if (entry.type === "on" || entry.type === "ending" || entry.type === "end") this.#note(entry);
      else if (entry.type === "order") this.#order(entry);
      else if (entry.type === "sent") this.#messageOf(entry.token, (message) => (message.sent = entry));
      else if (entry.type === "outcome") this.#messageOf(entry.token, ({ outcomes }) => outcomes.push(entry));
      else if (entry.type === "got") this.#got(entry);
      else if (entry.type === "fault") {
        this.disturbances.push({ fault: entry, until: mended.get(entry.fault) ?? Number.POSITIVE_INFINITY });
      }
    }
  }

  #start(start: Of<"start">): void {
    const run: Run = { start };
    this.runs.set(start.run, run);
    append(this.#runsOf, start.who, run);
  }
  #note(entry: Of<"on"> | Of<"ending"> | Of<"end">): void {
    const run = this.runs.get(entry.run);
    if (run === undefined) throw new Error(`run ${entry.run} never started: the journal is not whole`);
    if (entry.type === "on") run.on = entry;
    else if (entry.type === "ending") run.ending ??= entry;
    else run.end = entry;
  }
  #order(order: Of<"order">): void {
    const message: Message = { order, number: partsOf(order.token).number, outcomes: [], gots: [] };
    this.messages.set(order.token, message);
    append(this.conversations, `${order.run} ${order.to}`, message);
  }
  #messageOf(token: string, use: (message: Message) => void): void {
    const message = this.messages.get(token);
    if (message === undefined) throw new Error(`${token} was never ordered: the journal is not whole`);
    use(message);
  }
  #got(got: Of<"got">): void {
    const message = got.token === null ? undefined : this.messages.get(got.token);
    if (message === undefined || !got.whole || got.who !== message.order.to || got.from !== message.order.who) {
      this.strays.push(got);
    }
    if (got.who === message?.order.to) message.gots.push(got);
  }

  runsOf(who: string): readonly Run[] {
    return this.#runsOf.get(who) ?? [];
  }

  /** The run of that member that was on at that time: registered, and nobody had begun to end it. */
  onAt(who: string, at: number): Run | undefined {
    return this.runsOf(who).find(
      ({ on, ending, end }) => on !== undefined && on.at <= at && (ending?.at ?? end?.at ?? Infinity) > at,
    );
  }

  /** What was done to one of these targets, and had not ended by `from`. "*" hits everybody but the server. */
  disturbed(targets: readonly string[], from: number, to: number): Disturbance[] {
    return this.disturbances.filter(
      ({ fault, until }) =>
        [fault.target, ...(fault.hits ?? [])].some((hit) => targets.includes(hit)) && fault.at <= to && until >= from,
    );
  }
}

export function append<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list) list.push(value);
  else lists.set(key, [value]);
}
