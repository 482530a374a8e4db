// Two endpoints, a hostile network between them, and a clock that only the test moves. The network does to each datagram
// what the next element of a list of decisions says; when the list is used up it is perfect.

import { PathMtu } from "../../lib/peer/path-mtu.ts";
import { ReceivedCounters } from "../../lib/peer/secure-session.ts";
import { type Budget, Inbox } from "../../lib/peer/stream/inbox.ts";
import { Outbox } from "../../lib/peer/stream/outbox.ts";
import { FrameWriter, type Outcome, readFrames } from "../../lib/wire/datagram-frames.ts";

/** Of a DATA datagram: its head, and the seal's tag. */
const DATA_OVERHEAD = 32;

/** What happens to one datagram: one delay (ms) for each copy that arrives; none when it is lost. */
export type Fate = readonly number[];

export class CountingBudget implements Budget {
  used = 0;
  readonly limit: number;
  constructor(limit = Number.POSITIVE_INFINITY) {
    this.limit = limit;
  }
  take(bytes: number): boolean {
    if (this.used + bytes > this.limit) return false;
    this.used += bytes;
    return true;
  }
  give(bytes: number): void {
    this.used -= bytes;
    if (this.used < 0) throw new Error("more given back than taken");
  }
}

interface SessionEnd {
  readonly id: number;
  readonly received: ReceivedCounters;
  counter: number;
  ackDue: boolean;
  settleDue: boolean;
  /** The streamId at the other end. */
  readonly remote: number;
}

/** One program that talks: its outbox, an inbox for each streamId it has heard of, the ends of its sessions. */
export class Endpoint {
  streamId = 0;
  outbox: Outbox;
  inboxes = new Map<number, Inbox>();
  sessions = new Map<number, SessionEnd>();
  current: SessionEnd | null = null;
  /** Bodies by number, of this streamId. */
  enqueued = new Map<number, string>();
  cancelled = new Set<number>();
  settled = new Map<number, Outcome | "unknown">();
  readonly name: string;
  readonly world: World;
  readonly budget = new CountingBudget();
  /** Of the way to the other end. */
  readonly mtu = new PathMtu();

  constructor(world: World, name: string) {
    this.world = world;
    this.name = name;
    this.outbox = this.#start();
  }

  #start(): Outbox {
    this.streamId = this.world.nextInstance++;
    this.inboxes = new Map();
    this.sessions = new Map();
    this.current = null;
    this.enqueued = new Map();
    this.cancelled = new Set();
    this.settled = new Map();
    this.budget.used = 0;
    const { settled, streamId } = this;
    return new Outbox((_tag, outcome, _now, number) => {
      if (settled.has(number)) throw new Error(`${number} settled twice`);
      settled.set(number, outcome);
      this.world.onSettled(this, streamId, number, outcome);
    });
  }

  /** SIGKILL and a new start: everything in memory is gone. */
  restart(): void {
    this.outbox = this.#start();
  }

  send(text: string): number {
    const number = this.outbox.enqueue(Buffer.from(text), undefined);
    this.enqueued.set(number, text);
    this.settled.delete(number);
    this.cancelled.delete(number);
    this.flush();
    return number;
  }

  cancel(number: number): void {
    if (this.settled.has(number)) return;
    this.cancelled.add(number);
    this.outbox.cancel(number);
    this.flush();
  }

  receive(sessionId: number, counter: number, payload: Buffer): void {
    const session = this.sessions.get(sessionId);
    if (!session?.received.isFresh(counter)) return;
    session.received.mark(counter);
    let inbox = this.inboxes.get(session.remote);
    if (!inbox) {
      inbox = new Inbox(this.budget);
      this.inboxes.set(session.remote, inbox);
    }
    const box = inbox;
    const { now } = this.world;
    const elicit = () => {
      session.ackDue = true;
      session.settleDue = true;
      return true;
    };
    const ok = readFrames(payload, {
      onAck: (largest, words, count) => {
        if (largest >= session.counter) return false;
        if (session === this.current) this.outbox.onAck(largest, words, count, now);
        return true;
      },
      onSettled: (upTo, refusals) => this.outbox.onSettled(upTo, refusals, now),
      onBase: (number) => {
        box.onBase(number);
        return true;
      },
      onParts: (number, total, index, parts, bytes) => {
        const outcome = box.onParts(number, total, index, parts, bytes);
        return (outcome === "kept" || outcome === "duplicate") && elicit();
      },
      onFragment: (number, total, index, bytes) => {
        const outcome = box.onFragment(number, total, index, bytes);
        return (outcome === "kept" || outcome === "duplicate") && elicit();
      },
      onPing: elicit,
      onClose: () => true,
      onRevoke: (number) => box.onRevoke(number) && elicit(),
      onRevoked: (number) => {
        this.outbox.onRevoked(number, String(session.remote), now);
        return true;
      },
      onChallenge: () => true,
      onProof: () => true,
      onEnded: (number) => {
        this.outbox.onEnded(number, String(session.remote), now);
        return true;
      },
    });
    if (!ok) throw new Error("an honest peer's datagram was refused");
    this.handOver(session.remote);
    this.flush();
  }

  handOver(remote: number): void {
    const inbox = this.inboxes.get(remote);
    for (let message = inbox?.take(); inbox && message; message = inbox.take()) {
      const { number, body } = message;
      const { streamId } = this;
      this.world.onHandedOver(this, remote, number, body.toString());
      const settle = (outcome: Outcome) => {
        if (this.streamId !== streamId) return; // killed meanwhile
        this.world.onTaken(remote, number, outcome);
        inbox.settle(number, outcome);
        for (const session of this.sessions.values()) if (session.remote === remote) session.settleDue = true;
      };
      const delay = this.world.applicationDelay();
      const outcome = this.world.outcomeOf(number);
      if (delay === 0) {
        settle(outcome);
      } else {
        this.world.later(delay, () => {
          settle(outcome);
          if (this.streamId !== streamId) return;
          this.handOver(remote);
          this.flush();
        });
      }
    }
  }

  flush(): void {
    for (const session of this.sessions.values()) {
      for (let again = true; again; ) again = this.#sendOne(session);
    }
  }

  #sendOne(session: SessionEnd): boolean {
    const writer = new FrameWriter(Buffer.alloc(1200));
    const inbox = this.inboxes.get(session.remote);
    if (session.ackDue) session.received.write(writer);
    session.ackDue = false;
    if (session.settleDue && inbox) writer.settled(inbox.settledUpTo, inbox.refusals);
    session.settleDue = false;
    if (session === this.current) this.outbox.fill(writer, session.counter, this.world.now, this.mtu);
    if (writer.length === 0) return false;
    if (writer.length > 1168) throw new Error("payload too long");
    this.world.transmit(this, session.id, session.counter++, writer.buffer.subarray(0, writer.length));
    return true;
  }
}

export class World {
  now = 0;
  nextInstance = 1;
  readonly a: Endpoint;
  readonly b: Endpoint;
  /** `${receiver streamId}<${sender streamId}`: numbers handed over, in order. */
  readonly handed = new Map<string, number[]>();
  readonly #texts = new Map<string, string>(); // `${sender streamId}:${number}`: what was accepted
  readonly #accepted = new Set<string>();
  readonly #fates: Fate[];
  readonly #delays: number[];
  #events: { at: number; order: number; run: () => void }[] = [];
  #order = 0;
  #nextSession = 1;
  /** What the application makes of a message. */
  outcomeOf: (number: number) => Outcome = () => "accepted";
  datagrams = 0;
  /** Larger datagrams, in bytes of UDP payload, are lost. */
  pathBytes = Number.POSITIVE_INFINITY;

  constructor(fates: readonly Fate[], delays: readonly number[] = []) {
    this.#fates = [...fates];
    this.#delays = [...delays];
    this.a = new Endpoint(this, "a");
    this.b = new Endpoint(this, "b");
  }

  /** A handshake, done at once: both ends send through the new session; the old one still receives. */
  connect(): void {
    const id = this.#nextSession++;
    for (const [end, other] of [
      [this.a, this.b],
      [this.b, this.a],
    ] as const) {
      const session = {
        id,
        received: new ReceivedCounters(),
        counter: 0,
        ackDue: false,
        settleDue: false,
        remote: other.streamId,
      };
      end.sessions.set(id, session);
      end.current = session;
      end.outbox.attach(1, String(other.streamId));
    }
    this.a.flush();
    this.b.flush();
  }

  applicationDelay(): number {
    return this.#delays.shift() ?? 0;
  }

  later(ms: number, run: () => void): void {
    this.#events.push({ at: this.now + ms, order: this.#order++, run });
  }

  transmit(from: Endpoint, session: number, counter: number, payload: Buffer): void {
    this.datagrams++;
    const to = from === this.a ? this.b : this.a;
    const { streamId } = to;
    if (payload.length + DATA_OVERHEAD > this.pathBytes) return;
    for (const delay of this.#fates.shift() ?? [0.5]) {
      this.later(delay, () => {
        if (to.streamId === streamId) to.receive(session, counter, Buffer.from(payload));
      });
    }
  }

  onHandedOver(receiver: Endpoint, sender: number, number: number, text: string): void {
    const key = `${receiver.streamId}<${sender}`;
    const before = this.handed.get(key) ?? [];
    const last = before.at(-1) ?? 0;
    if (number <= last) throw new Error(`${key}: ${number} handed over after ${last}`);
    this.handed.set(key, [...before, number]);
    const end = [this.a, this.b].find((endpoint) => endpoint.streamId === sender);
    if (end && end.enqueued.get(number) !== text && !end.cancelled.has(number))
      throw new Error(`${number} is another text`);
    this.#texts.set(`${sender}:${number}`, text);
  }

  onTaken(sender: number, number: number, outcome: Outcome): void {
    if (outcome === "accepted") this.#accepted.add(`${sender}:${number}`);
  }

  onSettled(sender: Endpoint, streamId: number, number: number, outcome: Outcome | "unknown"): void {
    if (sender.cancelled.has(number)) throw new Error(`cancelled ${number} settled`);
    if (outcome === "accepted" && !this.#accepted.has(`${streamId}:${number}`))
      throw new Error(`${number}: delivered is a lie`);
  }

  /** Runs until nothing is left to happen, or for `ms`. Returns false when the time was not enough. */
  run(ms = Number.POSITIVE_INFINITY, maxSteps = 200_000): boolean {
    const end = this.now + ms;
    for (let step = 0; step < maxSteps; step++) {
      const timer = Math.min(
        this.a.current ? this.a.outbox.deadline() : Infinity,
        this.b.current ? this.b.outbox.deadline() : Infinity,
      );
      let next = -1;
      for (let i = 0; i < this.#events.length; i++) {
        const [event, best] = [this.#events[i], this.#events[next]];
        if (event && (!best || event.at < best.at || (event.at === best.at && event.order < best.order))) next = i;
      }
      const event = this.#events[next];
      const at = Math.min(event?.at ?? Infinity, timer);
      if (at > end || at === Infinity) {
        this.now = Number.isFinite(end) ? end : this.now;
        return true;
      }
      this.now = Math.max(this.now, at);
      if (event && event.at <= timer) {
        this.#events.splice(next, 1);
        event.run();
      } else {
        for (const endpoint of [this.a, this.b]) {
          if (endpoint.current) endpoint.outbox.onTimer(this.now);
          endpoint.flush();
        }
      }
    }
    return false;
  }
}
