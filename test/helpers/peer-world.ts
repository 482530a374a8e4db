// Real engines (real keys, real seals) on a network and a clock that only the test moves. Each datagram meets the next
// fate of a list; when the list is used up the network is perfect.

import { type Endpoint, isRelayed, relayEndpoint } from "../../lib/base/endpoint.ts";
import type { TalkError } from "../../lib/base/errors.ts";
import { Identity } from "../../lib/crypto/identity.ts";
import { PeerEngine } from "../../lib/peer/engine.ts";
import { DEFAULT_LIMITS } from "../../lib/peer/limits.ts";
import type { IncomingMessage, PeerLimits } from "../../lib/peer/types.ts";
import type { Outcome } from "../../lib/wire/datagram-frames.ts";
import { encodeMessage } from "../../lib/wire/datagram-message.ts";

/** One delay (ms) for each copy that arrives; none when it is lost. */
export type Fate = readonly number[];

export interface Sent {
  readonly text: string;
  /** undefined while it is under way, null when it was delivered. */
  outcome: TalkError | null | undefined;
  cancel: () => void;
}

/** One program: it can be killed and started again with the same identity and address. */
export class Program {
  engine: PeerEngine;
  run = 0;
  address: Endpoint;
  /** Texts handed over, by run. */
  readonly received: string[][] = [];
  readonly sent: Sent[] = [];
  isSuspended = false;
  #asleep: (() => void)[] = [];
  #buffer: (() => void)[] = [];
  /** What the relay calls it, when it has a relay. */
  place = "";
  /** Where the directory has it, as it says in its handshakes. */
  homes: readonly Endpoint[] = [];
  /** No direct path answers soon. */
  onUnanswered: () => void = () => {};
  /** "direct" and "relay", in the order of the path events. */
  readonly paths: string[] = [];
  readonly identity: Identity;
  readonly world: PeerWorld;
  readonly limits: PeerLimits;

  constructor(world: PeerWorld, address: Endpoint, identity = Identity.generate(), limits: Partial<PeerLimits> = {}) {
    this.world = world;
    this.address = address;
    this.identity = identity;
    this.limits = { ...DEFAULT_LIMITS, ...limits };
    this.engine = this.#start();
  }

  /** What the directory says of it. */
  get reachedAt(): Endpoint[] {
    const direct = this.homes.length > 0 ? [...this.homes] : [this.address];
    return this.place === "" ? direct : [...direct, relayEndpoint(this.place)];
  }

  /** SIGKILL and a new start: everything in memory is gone. */
  restart(): void {
    for (const sent of this.sent) sent.outcome ??= KILLED;
    this.isSuspended = false;
    this.#asleep = [];
    this.#buffer = [];
    this.engine = this.#start();
  }

  #start(): PeerEngine {
    const run = this.run++;
    const received: string[] = [];
    this.received[run] = received;
    return new PeerEngine({
      identity: this.identity,
      limits: this.limits,
      now: this.world.now,
      transmit: (datagram, to) => {
        if (this.run - 1 === run) this.world.transmit(datagram, this, to);
      },
      deliverBody: (_body, settle) => settle("not-understood"),
      deliver: (message, settle, output) => {
        if (this.world.planted.has("accepts first")) this.settle(message.text, run, settle);
        this.world.beforeOutput(() =>
          this.awake(run, () => {
            if (!output.begin() && !this.world.planted.has("ignores begin")) return;
            if (received.includes(message.text)) throw new Error(`${message.text} handed over twice`);
            received.push(message.text);
            this.world.onOutput(message);
            if (this.world.planted.has("shows twice")) this.world.onOutput(message);
            this.world.onHandedOver(this, message, () => this.awake(run, () => this.settle(message.text, run, settle)));
          }),
        );
      },
      readAll: () => {
        for (const arrival of this.#buffer.splice(0)) arrival();
      },
      wake: () => this.world.later(0, () => this.#flush(run)),
      ownHomes: () => this.homes,
      onUnanswered: () => this.onUnanswered(),
      onPath: (_peer, { kind }) => this.paths.push(kind),
    });
  }

  settle(text: string, run: number, settle: (outcome: Outcome) => void): void {
    if (this.run - 1 !== run) return; // killed before it could say so
    this.world.accepted.add(text);
    settle("accepted");
  }

  /** What the program does next, once it is awake; nothing if it was killed meanwhile. */
  awake(run: number, act: () => void): void {
    if (this.run - 1 !== run) return;
    if (this.isSuspended) this.#asleep.push(() => this.awake(run, act));
    else act();
  }

  /** A datagram in the kernel's buffer: read at once, or after the suspension. */
  arrive(read: () => void): void {
    if (this.isSuspended) this.#buffer.push(read);
    else read();
  }

  /** SIGSTOP. */
  suspend(): void {
    this.isSuspended = true;
  }

  /** SIGCONT: what had been about to happen comes first, then what has arrived, as in libuv's loop. */
  resume(): void {
    this.isSuspended = false;
    for (const act of this.#asleep.splice(0)) act();
    for (const arrival of this.#buffer.splice(0)) arrival();
    this.engine.flush(this.world.now);
  }

  #flush(run: number): void {
    if (this.isSuspended) this.awake(run, () => this.#flush(run));
    else if (this.run - 1 === run) this.engine.flush(this.world.now);
  }

  send(to: Program, bytes = 20, timeoutMs = Number.POSITIVE_INFINITY): Sent {
    const text = `${this.address.port}.${this.run}.${this.sent.length}.`.padEnd(bytes, "x");
    const sent: Sent = { text, outcome: undefined, cancel: () => {} };
    this.sent.push(sent);
    const peer = { key: to.identity.publicKey, name: "peer", endpoints: to.reachedAt };
    const since = this.world.now;
    const done = (error: TalkError | null) => {
      if (sent.outcome !== undefined) return;
      if (error === null && !this.world.accepted.has(text)) throw new Error(`${text}: delivered is a lie`);
      this.world.onOutcome(text, error);
      sent.outcome = error;
    };
    const cancel = this.engine.send(peer, encodeMessage({ id: "1", from: "x", text }) as Buffer, {
      since,
      expiresAt: since + timeoutMs,
      done,
    });
    if (typeof cancel !== "function") throw cancel;
    sent.cancel = () => {
      if (sent.outcome !== undefined) return;
      sent.outcome = CANCELLED;
      cancel(this.world.now);
      this.engine.flush(this.world.now);
    };
    this.engine.flush(this.world.now);
    return sent;
  }
}

const KILLED = new Error("killed") as TalkError;
export const CANCELLED = new Error("cancelled") as TalkError;

export class PeerWorld {
  now = 1000;
  datagrams = 0;
  readonly programs: Program[] = [];
  /** Texts that some receiver has accepted. */
  readonly accepted = new Set<string>();
  /** Every datagram that was ever sent. */
  readonly captured: { datagram: Buffer; from: Endpoint; to: Endpoint }[] = [];
  capture = false;
  /** Every text that was shown, by any process, in order. */
  readonly outputs: { readonly text: string; readonly again: boolean }[] = [];
  /** How long applications take between hand-over and output; at once when it is used up. */
  thinking: number[] = [];
  /** What the applications do wrong, on purpose. */
  readonly planted = new Set<"ignores begin" | "accepts first" | "shows twice">();
  readonly #fates: Fate[];
  readonly #delays: number[];
  readonly #events: { at: number; order: number; run: () => void }[] = [];
  #order = 0;

  constructor(fates: readonly Fate[] = [], delays: readonly number[] = []) {
    this.#fates = [...fates];
    this.#delays = [...delays];
  }

  program(host: number, identity?: Identity, limits?: Partial<PeerLimits>): Program {
    const program = new Program(this, { address: `10.0.0.${host}`, port: 1000 + host }, identity, limits);
    this.programs.push(program);
    return program;
  }

  later(ms: number, run: () => void): void {
    this.#events.push({ at: this.now + ms, order: this.#order++, run });
  }

  /** Direct datagrams that do not arrive, whatever their fate. */
  isBlocked: (from: Program, to: Endpoint) => boolean = () => false;
  hasRelay = true;

  transmit(datagram: Buffer, from: Program, to: Endpoint): void {
    this.datagrams++;
    if (isRelayed(to)) {
      if (this.hasRelay) this.later(2, () => this.#relay(datagram, from, to.address));
      return;
    }
    if (this.isBlocked(from, to)) return;
    const source = from.address;
    if (this.capture) this.captured.push({ datagram: Buffer.from(datagram), from: source, to });
    for (const delay of this.#fates.shift() ?? [0.5]) this.later(delay, () => this.arrive(datagram, source, to));
  }

  arrive(datagram: Buffer, from: Endpoint, to: Endpoint): void {
    for (const program of this.programs) {
      if (program.address.port !== to.port || program.address.address !== to.address) continue;
      // A socket gives each datagram a buffer of its own.
      const copy = Buffer.from(datagram);
      program.arrive(() => program.engine.receive(copy, from.address, from.port, this.now));
      if (!program.isSuspended) program.engine.flush(this.now);
    }
  }

  #relay(datagram: Buffer, from: Program, place: string): void {
    for (const program of this.programs) {
      if (program.place !== place) continue;
      program.arrive(() => program.engine.receiveRelayed(datagram, from.place, this.now));
      if (!program.isSuspended) program.engine.flush(this.now);
    }
  }

  /** Between the hand-over of a message and its output: what an application has to find out first. */
  beforeOutput(then: () => void): void {
    const delay = this.thinking.shift() ?? 0;
    if (delay === 0) then();
    else this.later(delay, then);
  }

  /** For tests that look at the moment itself. */
  onOutcome: (text: string, error: TalkError | null) => void = () => {};

  onOutput({ text, again }: IncomingMessage): void {
    this.outputs.push({ text, again });
  }

  onHandedOver(_receiver: Program, _message: IncomingMessage, accept: () => void): void {
    const delay = this.#delays.shift() ?? 0;
    if (delay === 0) accept();
    else this.later(delay, accept);
  }

  /** Runs for `ms`, or until `done`. Returns whether it is done. */
  run(ms: number, done: () => boolean = () => false, maxSteps = 100_000): boolean {
    const end = this.now + ms;
    for (let step = 0; step < maxSteps; step++) {
      if (done()) return true;
      const awake = this.programs.filter(({ isSuspended }) => !isSuspended);
      const timer = Math.max(this.now, Math.min(...awake.map(({ engine }) => engine.deadline())));
      let next = -1;
      for (let i = 0; i < this.#events.length; i++) {
        const [event, best] = [this.#events[i], this.#events[next]];
        if (event && (!best || event.at < best.at || (event.at === best.at && event.order < best.order))) next = i;
      }
      const event = this.#events[next];
      const at = Math.min(event?.at ?? Number.POSITIVE_INFINITY, timer);
      if (at > end) {
        this.now = end;
        return done();
      }
      this.now = Math.max(this.now, at);
      if (event && event.at <= timer) {
        this.#events.splice(next, 1);
        event.run();
        continue;
      }
      for (const { engine } of awake) {
        if (engine.deadline() > this.now) continue;
        engine.onTimer(this.now);
        engine.flush(this.now);
      }
    }
    return false;
  }
}
