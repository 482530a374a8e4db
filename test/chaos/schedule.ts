// What happens in a run, and when: a pure function of the seed. Whom it hits stands in it too; what the processes make of it
// is theirs.
import type { Random } from "../helpers/random.ts";

export const KINDS = {
  primary: "the server is killed, and started again",
  restart: "the server is shut down, and started again",
  worker: "a worker process of the server is killed",
  client: "a client is killed, and started again",
  leave: "a client leaves, and comes back",
  link: "connections to the server are reset, refused, or swallowed for a time",
  datagrams: "datagrams of a client, or some of everybody's, are lost for a time",
  stop: "a process is stopped (SIGSTOP) for a time",
} as const;
export type Kind = keyof typeof KINDS;
export const ALL_KINDS = Object.keys(KINDS) as Kind[];

/** How often each kind comes, beside the others. */
const WEIGHTS: Readonly<Record<Kind, number>> = {
  primary: 2,
  restart: 1,
  worker: 3,
  client: 4,
  leave: 2,
  link: 4,
  datagrams: 4,
  stop: 4,
};

/** Milliseconds between two faults, on average. */
const FAULT_EVERY_MS = 700;
/** Milliseconds that something stays away, or broken: mostly short, now and then longer than clients' patience (10 s). */
const SHORT_MS = { low: 50, high: 3_000 };
const LONG_MS = { low: 6_000, high: 12_000 };
const LONG_SHARE = 0.08;
/** Part of the link and datagram faults that hit everybody at once. */
const EVERYBODY_SHARE = 0.15;

const BURST_SHARE = 0.04;
const BURST = 12;
const LARGE_SHARE = 0.04;
/** Bytes: one datagram, a few, many. */
const SMALL = 200;
const LARGE = 20_000;

export interface Cast {
  /** Those who are on and send. */
  readonly talkers: readonly string[];
  /** Those who are on. */
  readonly members: readonly string[];
  /** Members that nothing kills, so that leaks add up somewhere. */
  readonly elders: readonly string[];
  /** Those who send with `ptalk send`: some of them are on as well. */
  readonly senders: readonly string[];
  /** Milliseconds between two messages of one sender, on average. */
  readonly messageEveryMs: number;
}

/** What may go wrong in a run, how often, and for whom. */
export interface Faults<K extends string> {
  /** Empty: only messages. */
  readonly kinds: readonly K[];
  /** How often each kind comes, beside the others. */
  readonly weights: Readonly<Record<K, number>>;
  /** Milliseconds between two, on average. */
  readonly everyMs: number;
  target(random: Random, kind: K): string;
}

export interface FaultAct<K extends string> {
  readonly type: "fault";
  readonly at: number;
  readonly kind: K;
  /** A member, "server", "worker", another word of {@link Faults.target}, or "*" for everybody. */
  readonly target: string;
  readonly forMs: number;
  /** From 0 to 1: which worker, which way to cut. */
  readonly choice: number;
}
export interface MessageAct {
  readonly type: "message";
  readonly at: number;
  readonly by: "program" | "send";
  readonly from: string;
  readonly to: string;
  readonly bytes: number;
  /** Whether it has a long time to be delivered in. */
  readonly patient: boolean;
}
export type Act<K extends string> = FaultAct<K> | MessageAct;

/** The acts of one storm, in the order of time. */
export function storm<K extends string>(random: Random, cast: Cast, faults: Faults<K>, forMs: number): Act<K>[] {
  const acts: Act<K>[] = [...messages(random, cast, forMs)];
  const { kinds, everyMs } = faults;
  for (let at = random.wait(everyMs); at < forMs && kinds.length > 0; at += random.wait(everyMs)) {
    acts.push(fault(random, faults, at, forMs));
  }
  return acts.sort((a, b) => a.at - b.at);
}

function fault<K extends string>(random: Random, faults: Faults<K>, at: number, until: number): FaultAct<K> {
  const { kinds, weights } = faults;
  const kind = random.pick(kinds.flatMap((each) => Array.from({ length: weights[each] }, () => each)));
  const range = random.chance(LONG_SHARE) ? LONG_MS : SHORT_MS;
  const forMs = Math.min(random.between(range.low, range.high), until - at);
  return { type: "fault", at, kind, target: faults.target(random, kind), forMs, choice: random.next() };
}

/** The faults of a run with one server. */
export function ofOneServer(cast: Cast, kinds: readonly Kind[]): Faults<Kind> {
  return { kinds, weights: WEIGHTS, everyMs: FAULT_EVERY_MS, target: (random, kind) => target(random, cast, kind) };
}

function target(random: Random, cast: Cast, kind: Kind): string {
  const mortals = cast.members.filter((name) => !cast.elders.includes(name));
  switch (kind) {
    case "primary":
    case "restart":
      return "server";
    case "worker":
      return "worker";
    case "client":
    case "leave":
      return random.pick(mortals);
    case "link":
      return random.chance(EVERYBODY_SHARE) ? "*" : random.pick([...cast.members, ...cast.senders]);
    case "datagrams":
      return random.chance(EVERYBODY_SHARE) ? "*" : random.pick(cast.members);
    case "stop":
      return random.pick([...cast.members, "server", "worker"]);
  }
}

function* messages(random: Random, cast: Cast, forMs: number): Generator<MessageAct> {
  for (const from of cast.talkers) yield* messagesOf(random, cast, forMs, from, "program");
  for (const from of cast.senders) yield* messagesOf(random, cast, forMs, from, "send");
}

function* messagesOf(
  random: Random,
  cast: Cast,
  forMs: number,
  from: string,
  by: MessageAct["by"],
): Generator<MessageAct> {
  // A process for each message is the dearest part of the load: fewer of those.
  const every = by === "send" ? cast.messageEveryMs * 3 : cast.messageEveryMs;
  for (let at = random.wait(every); at < forMs; at += random.wait(every)) {
    const to = random.pick(cast.members.filter((name) => name !== from));
    const bytes = random.chance(LARGE_SHARE) ? random.below(LARGE) : random.below(SMALL);
    const count = by === "program" && random.chance(BURST_SHARE) ? BURST : 1;
    const patient = random.chance(0.5);
    for (let i = 0; i < count; i++) yield { type: "message", at, by, from, to, bytes, patient };
  }
}
