// Reads the journals of a run and says what must not be. Pure: entries in, violations out. A rule counts only what ptalk
// promises; what it allows (a text twice where its receiver was killed before it could confirm) is passed over here.
import { claims } from "./claims.ts";
import { type Entry, isA, type Of } from "./journal.ts";
import { append, type Message, type Run, Story, type Violation } from "./story.ts";

/**
 * Milliseconds after which everything has to be as before once a cause has ended: clients come back within 5 s (the ceiling
 * of their backoff), and as long again for machines that do other work meanwhile.
 */
export const SETTLE_MS = 10_000;
/** A silent client is asked after 10 s and taken out 10 s later: until then its name may be held. */
const SILENT_MS = 20_000;
/** As long after a delivered message its sender has a session with the receiver (sessions are forgotten after 5 min). */
const CONVERSING_MS = 120_000;
/** Descriptors that a role may have more at the end than at the beginning: libraries open some late (randomness, a log). */
const DESCRIPTORS_GROWTH = 8;
/** Bytes that a role's processes may have grown by: V8 keeps what it once had, a leak goes on. */
const MEMORY_GROWTH = 96 * 1024 * 1024;
/** CPU time of an idle process by wall time: timers of some seconds cost a thousandth. */
const CPU_AT_REST = 0.05;

export interface CheckOptions {
  /** The program tells "not shown" (75) from "may have been shown" (76): then a text that failed must not have been shown. */
  readonly knowsUnconfirmed: boolean;
  /** Milliseconds after which everything has to be as before; default {@link SETTLE_MS}. */
  readonly settleMs?: number;
}

/** @param entries in the order of time */
export function check(entries: readonly Entry[], options: CheckOptions): Violation[] {
  const story = new Story(entries, options.settleMs ?? SETTLE_MS);
  return [
    ...delivery(story),
    ...order(story),
    ...trust(story, entries),
    ...outcomes(story, options),
    ...programs(story, entries),
    ...claims(story, entries),
    ...resources(entries),
  ];
}

const outcomeOf = ({ outcomes: [first] }: Message): Of<"outcome"> | undefined => first;
const linesOf = ({ order, sent, outcomes, gots }: Message): Entry[] =>
  [order, ...(sent ? [sent] : []), ...outcomes, ...gots].sort((a, b) => a.at - b.at);

function* delivery(story: Story): Generator<Violation> {
  for (const stray of story.strays) {
    yield { rule: "damaged", text: `${stray.who} got what nobody sent it like this`, lines: [stray] };
  }
  for (const message of story.messages.values()) {
    const { order, gots } = message;
    if (outcomeOf(message)?.state === "delivered" && gots.length === 0) {
      yield {
        rule: "lost",
        text: `${order.token} was delivered to ${order.to}, who never got it`,
        lines: linesOf(message),
      };
    }
    const excess = gots.find((got, i) => i > 0 && !mayComeAgain(story, message, gots[i - 1] as Of<"got">, got));
    if (excess) {
      yield { rule: "twice", text: `${order.to} got ${order.token} ${gots.length} times`, lines: linesOf(message) };
    }
  }
}

/**
 * A text comes again to a successor of the program that showed it first, if that one ended before its sender knew. And to both of two
 * programs of which one takes over: until the older one has heard of it, it shows what was on its way to it.
 */
function mayComeAgain(story: Story, message: Message, first: Of<"got">, again: Of<"got">): boolean {
  if (first.run === again.run) return false;
  const older = story.runs.get(Math.min(first.run, again.run));
  const { at } = message.order;
  if (older?.ending?.how === "replaced" && (older.end?.at ?? Number.POSITIVE_INFINITY) > at) return true;
  const { ending, end } = story.runs.get(first.run) ?? {};
  const endedAt = ending?.at ?? end?.at ?? Number.POSITIVE_INFINITY;
  const outcome = outcomeOf(message);
  return outcome === undefined || outcome.at > endedAt;
}

function* order(story: Story): Generator<Violation> {
  for (const conversation of story.conversations.values()) {
    const messages = conversation.filter(({ gots }) => gots.length > 0);
    // As they were shown first; and as each program showed them, again or not.
    yield* ascending(messages.map((message) => [message, message.gots[0] as Of<"got">]));
    const runs = new Set(messages.flatMap(({ gots }) => gots.map((got) => got.run)));
    for (const run of runs.size > 1 ? runs : []) {
      yield* ascending(
        messages.flatMap((message) => message.gots.filter((got) => got.run === run).map((got) => [message, got])),
      );
    }
  }
}

function* ascending(shown: [Message, Of<"got">][]): Generator<Violation> {
  const inTime = shown.sort(([, a], [, b]) => a.at - b.at);
  for (let i = 1; i < inTime.length; i++) {
    const [before, gotBefore] = inTime[i - 1] as [Message, Of<"got">];
    const [message, got] = inTime[i] as [Message, Of<"got">];
    if (message.number >= before.number) continue;
    const text = `${got.who} got ${message.order.token} behind ${before.order.token}`;
    yield { rule: "order", text, lines: [message.order, before.order, gotBefore, got] };
    return; // one for each pair: what follows an exchange is out of order with it
  }
}

function* trust(story: Story, entries: readonly Entry[]): Generator<Violation> {
  // "A B": A has met B's key, and keeps it.
  const pinned = new Map<string, Entry>();
  const keys = new Map<string, string>();
  for (const entry of entries) {
    if (entry.type === "error" && (entry.code === "refused" || entry.code === "key-mismatch")) {
      yield { rule: "refused", text: `${entry.who} refused somebody: ${entry.message}`, lines: [entry] };
    }
    if (entry.type === "outcome" && entry.state === "delivered") {
      const to = story.messages.get(entry.token)?.order.to;
      if (!pinned.has(`${entry.who} ${to}`)) pinned.set(`${entry.who} ${to}`, entry);
    }
    if (entry.type !== "got") continue;
    const known = keys.get(entry.from);
    if (known !== undefined && known !== entry.fingerprint) {
      yield { rule: "identity", text: `${entry.from} came to ${entry.who} with another key`, lines: [entry] };
    }
    keys.set(entry.from, entry.fingerprint);
    const [there, back] = [pinned.get(`${entry.who} ${entry.from}`), pinned.get(`${entry.from} ${entry.who}`)];
    if (entry.verified) {
      if (there === undefined) pinned.set(`${entry.who} ${entry.from}`, entry);
    } else if (there && back) {
      const text = `${entry.who} got ${entry.token} unverified from ${entry.from}, though each has the other's key`;
      const faults = faultsAt(story, [entry.who, "*", "server"], entry.at - story.settleMs, entry.at);
      yield { rule: "unverified", text, lines: [there, back, entry, ...faults] };
    }
  }
}

function* outcomes(story: Story, { knowsUnconfirmed }: CheckOptions): Generator<Violation> {
  for (const message of story.messages.values()) {
    const { order, gots } = message;
    const lines = linesOf(message);
    const outcome = outcomeOf(message);
    if (outcome === undefined) {
      const { end } = story.runs.get(order.run) ?? {};
      // Whoever leaves, leaves when the fate of everything is known.
      if (end?.how === "left")
        yield { rule: "outcome", text: `nothing became of ${order.token}`, lines: [...lines, end] };
      if (order.rollCall) yield { rule: "roll-call", text: `nothing became of ${order.token} at the roll call`, lines };
      continue;
    }
    if (message.outcomes.length > 1) yield { rule: "outcome", text: `${order.token} has two outcomes`, lines };
    if (outcome.state === "unconfirmed" || outcome.code === "not-delivered") yield* overruled(story, message, outcome);
    if (outcome.state !== "failed") continue;
    if (order.rollCall) yield { rule: "roll-call", text: `${order.token} failed at the roll call`, lines };
    if (gots.length > 0 && knowsUnconfirmed) {
      yield { rule: "shown-after-failed", text: `${order.token} failed, and ${order.to} got it`, lines };
    }
    yield* failure(story, message, outcome);
  }
}

function* failure(story: Story, message: Message, outcome: Of<"outcome">): Generator<Violation> {
  const { order } = message;
  const since = outcome.at - story.settleMs;
  const receiver = story.onAt(order.to, outcome.at);
  const settled = receiver?.on !== undefined && receiver.on.at <= since;
  const ofReceiver = story.disturbed([order.to, "*"], since, outcome.at);
  const lines = [...linesOf(message), ...(receiver?.on ? [receiver.on] : [])];
  switch (outcome.code) {
    case "key-mismatch":
    case "refused":
    case "declined":
    case "name-reserved":
      yield { rule: "refused", text: `${order.token} to ${order.to} was refused: ${outcome.code}`, lines };
      return;
    case "no-such-user": {
      const talked = receiver && conversation(story, message, receiver, outcome.at);
      if (talked) {
        const text = `${order.who} was told that nobody is ${order.to}, in the middle of their conversation`;
        yield { rule: "no-such-user", text, lines: [talked, ...lines] };
      } else if (settled && ofReceiver.length === 0) {
        const text = `${order.who} was told that nobody is ${order.to}, who was on and undisturbed`;
        yield { rule: "no-such-user", text, lines: [...lines, ...faultsAt(story, ["server"], since, outcome.at)] };
      }
      return;
    }
    case "not-delivered": {
      const isProgram = story.runs.get(order.run)?.start.program !== "send";
      const disturbed = story
        .disturbed([order.who, order.to, "*", "server"], since, outcome.at)
        // What ends somebody's program does nothing to a `send` of the same name.
        .filter(({ fault }) => isProgram || fault.target !== order.who || !/^(client|leave)$/.test(fault.kind));
      if (settled && order.at <= since && disturbed.length === 0) {
        const text = `${order.token} was given up although both ends were on and undisturbed for ${story.settleMs / 1000} s`;
        yield { rule: "given-up", text, lines: [...lines, ...faultsAt(story, [order.to, order.who], order.at, since)] };
      }
      return;
    }
    case "unreachable":
      // A worker that dies is no excuse: whoever connects first tries again, as everybody does later.
      if (
        story.disturbed([order.who, "*", "server"], order.at, outcome.at).every(({ fault }) => fault.kind === "worker")
      ) {
        yield { rule: "unreachable", text: `${order.who} found no server although it was up`, lines };
      }
      return;
    default:
      yield { rule: "outcome", text: `${order.token} failed with ${outcome.code}`, lines };
  }
}

/** Kinds of faults that end a conversation, or keep the two from hearing each other: what servers suffer is none of them. */
const OF_A_CONVERSATION = /^(client|leave|takeover|stop|datagrams|path-cut|cable)$/;
/** Those after which a conversation may go over a server for a while. */
const OF_A_PATH = /^(path-cut|cable)$/;

/** A session that is open sends on, whatever becomes of the servers. */
function* overruled(story: Story, message: Message, outcome: Of<"outcome">): Generator<Violation> {
  const { who, to, token, at } = message.order;
  const receiver = story.onAt(to, outcome.at);
  const talked = receiver && conversation(story, message, receiver, at);
  if (!talked || outcome.at - at < SETTLE_MS) return;
  const between = story.disturbed([who, to, "*"], talked.at - CONVERSING_MS, outcome.at).filter(({ fault, until }) => {
    const hits = [fault.target, ...(fault.hits ?? [])];
    const isTheirs = fault.kind === "datagrams" || hits.includes(who) || hits.includes(to);
    const isOver = !OF_A_PATH.test(fault.kind) && until < talked.at - story.settleMs;
    return isTheirs && !isOver && OF_A_CONVERSATION.test(fault.kind);
  });
  if (between.length > 0) return;
  const text = `${token} did not arrive, although ${who} and ${to} had talked, and nothing came between them`;
  yield { rule: "given-up", text, lines: [talked, ...linesOf(message)] };
}

/** The last message that the same program has delivered to the same program. */
function conversation(story: Story, message: Message, receiver: Run, at: number): Entry | undefined {
  const { run, to } = message.order;
  const all = story.conversations.get(`${run} ${to}`) ?? [];
  const before = all.filter(({ gots }) => gots.some((got) => got.run === receiver.start.run));
  const times = before.map(outcomeOf).filter((outcome) => outcome?.state === "delivered" && outcome.at < at);
  const last = times.at(-1);
  return last !== undefined && last.at > at - CONVERSING_MS ? last : undefined;
}

const faultsAt = (story: Story, targets: readonly string[], from: number, to: number): Entry[] =>
  story.disturbed(targets, from, to).map(({ fault }) => fault);

function* programs(story: Story, entries: readonly Entry[]): Generator<Violation> {
  for (const hang of entries.filter(isA("hang"))) {
    yield { rule: "hangs", text: `${hang.who}: ${hang.what}`, lines: [hang] };
  }
  for (const { start, on, end } of story.runs.values()) {
    if (end === undefined || end.how !== "itself" || start.program === "send" || start.program === "racer") continue;
    const lines = [start, ...(on ? [on] : []), end];
    if (on) yield { rule: "died", text: `${start.who} ended by itself: ${end.code ?? end.signal}`, lines };
    else if (!mayFailToStart(story, start, end)) {
      yield { rule: "not-started", text: `${start.who} could not start: ${end.code ?? end.signal}`, lines };
    }
  }
  for (const people of entries.filter(isA("people"))) {
    const [expected, listed] = [[...people.expected].sort().join(" "), [...people.listed].sort().join(" ")];
    if (expected !== listed) {
      const text = `${people.server ?? "the server"} lists ${listed}; ${people.room ? `in ${people.room}` : "on"} are ${expected}`;
      yield { rule: "people", text, lines: [people] };
    }
  }
}

const UNREACHABLE = 69;
const NAME_TAKEN = 73;
/** Kinds of faults that keep a server from the engine of its directory. */
const OF_THE_ENGINE = /^(etcd|engine-cut|cable)/;

function mayFailToStart(story: Story, start: Of<"start">, end: Of<"end">): boolean {
  if (start.program === "serve") {
    if (end.code !== UNREACHABLE) return false;
    const disturbed = story.disturbed([start.who, "*"], start.at - story.settleMs, end.at);
    return disturbed.some(({ fault }) => OF_THE_ENGINE.test(fault.kind));
  }
  // Its predecessor was cut off before the server could see it go.
  if (end.code === NAME_TAKEN)
    return story.disturbed([start.who, "*", "server"], start.at - SILENT_MS - story.settleMs, end.at).length > 0;
  return story.disturbed([start.who, "*", "server"], start.at, end.at).some(({ fault }) => fault.kind !== "worker");
}

function* resources(entries: readonly Entry[]): Generator<Violation> {
  const samples = new Map<string, Of<"sample">[]>();
  for (const sample of entries.filter(isA("sample"))) append(samples, sample.role, sample);
  for (const [role, of] of samples) {
    const [first, last] = [of[0] as Of<"sample">, of.at(-1) as Of<"sample">];
    const lines = [first, last];
    const descriptors = last.descriptors - first.descriptors;
    if (descriptors > DESCRIPTORS_GROWTH) yield { rule: "descriptors", text: `${role} has ${descriptors} more`, lines };
    const bytes = last.residentBytes - first.residentBytes;
    if (bytes > MEMORY_GROWTH) yield { rule: "memory", text: `${role} has grown by ${bytes >> 20} MiB`, lines };
  }
  for (const rest of entries.filter(isA("rest"))) {
    const share = rest.cpuMs / rest.wallMs;
    if (share > CPU_AT_REST) {
      yield {
        rule: "cpu",
        text: `${rest.role} does nothing with ${Math.round(share * 100)} % of a core`,
        lines: [rest],
      };
    }
  }
  for (const left of entries.filter(isA("left-behind"))) {
    if (left.files.length > 0) {
      yield { rule: "left-behind", text: `/dev/shm has ${left.files.join(", ")}`, lines: [left] };
    }
  }
}
