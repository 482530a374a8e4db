// Keeps the wanted number of workers alive. A worker that dies is replaced; one that keeps dying, after a growing pause.

import { TalkError } from "../base/errors.ts";
import type { Log } from "./log.ts";
import type { ToPrimary, WorkerConfig } from "./messages.ts";
import type { WorkerBus } from "./worker-bus.ts";
import { type HandedConnection, type WorkerEnd, WorkerProcess } from "./worker-process.ts";

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 5_000;
/** A worker that lived this long did not die of its start. */
const HEALTHY_MS = 10_000;
/** Workers that may die before the first one serves: then it is not bad luck. */
const MAX_START_FAILURES = 5;
/** Ms from a worker's fork until it takes connections; one that needs longer hangs, and is replaced. */
const START_MS = 20_000;
/** Ms that workers get to end by themselves. */
const STOP_TIMEOUT_MS = 3_000;

export interface PoolOwner {
  /** What a new worker needs to begin. */
  configOf(id: number): WorkerConfig;
  /** Those that take connections have changed. */
  readyChanged(ids: readonly number[]): void;
  /** A worker is gone, with whatever it was doing. */
  died(id: number, stranded: readonly HandedConnection[]): void;
  /** No worker has a descriptor for that one. */
  lost(connection: HandedConnection): void;
}

export class WorkerPool {
  replaced = 0;
  readonly #bus: WorkerBus;
  readonly #owner: PoolOwner;
  readonly #log: Log;
  readonly #workers = new Map<number, WorkerProcess>();
  readonly #ready = new Set<number>();
  #pause = FIRST_PAUSE_MS;
  #stopping = false;
  #starting: { count: number; resolve: () => void; reject: (error: Error) => void } | null = null;
  #failures = 0;
  /** Workers are numbered from 1; a number is used once. */
  #lastId = 0;
  #allGone: (() => void) | null = null;
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(bus: WorkerBus, owner: PoolOwner, log: Log) {
    this.#bus = bus;
    this.#owner = owner;
    this.#log = log;
  }

  get pids(): number[] {
    return [...this.#workers.values()].map(({ pid }) => pid);
  }

  /** Forks `count` workers; resolves when all of them take connections, or some do and the others hang. */
  start(count: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#starting = { count, resolve, reject };
      for (let i = 0; i < count; i++) this.#fork();
    });
  }

  /** Tells a worker whose process has begun what to do. */
  configure(id: number): void {
    if (this.#stopping) this.#workers.get(id)?.send({ type: "stop", reason: "shutdown" });
    else this.#workers.get(id)?.send({ type: "start", config: this.#owner.configOf(id), owners: this.#bus.owners });
  }

  ready(id: number): void {
    this.#ready.add(id);
    if (this.#ready.size === this.#starting?.count) this.#starting.resolve();
    this.#owner.readyChanged([...this.#ready]);
  }

  /** Lets every worker say goodbye and end. */
  async stop(reason: string): Promise<void> {
    this.#stopping = true;
    for (const timer of this.#timers) clearTimeout(timer);
    if (this.#workers.size === 0) return;
    const gone = new Promise<void>((resolve) => {
      this.#allGone = resolve;
    });
    this.#bus.broadcast({ type: "stop", reason });
    const killTimer = setTimeout(() => {
      for (const worker of this.#workers.values()) worker.kill();
    }, STOP_TIMEOUT_MS);
    await gone;
    clearTimeout(killTimer);
  }

  #fork(): void {
    const bornAt = performance.now();
    const worker = new WorkerProcess(++this.#lastId, {
      message: (id, message: ToPrimary) => this.#bus.receive(id, message),
      lost: (id, connection) => {
        this.#bus.receive(id, { type: "workerError", reason: "a worker has no descriptor left for a connection" });
        this.#bus.receive(id, { type: "closed", origin: connection.origin });
        this.#owner.lost(connection);
      },
      exited: (id, end, stranded) => this.#exited(id, end, stranded, performance.now() - bornAt),
    });
    this.#workers.set(worker.id, worker);
    this.#bus.add(worker);
    this.#later(START_MS, () => {
      if (this.#ready.has(worker.id) || this.#workers.get(worker.id) !== worker) return;
      if (this.#ready.size > 0) this.#starting?.resolve();
      else this.#starting?.reject(TalkError.internal(`no worker took connections within ${START_MS / 1000} s`));
      worker.kill();
    });
  }

  /** Another worker, in a moment; when the system refuses, after a longer one. */
  #forkLater(): void {
    this.#later(this.#pause, () => {
      try {
        this.#fork();
      } catch (error) {
        this.#log.error("no new worker", { error });
        this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE_MS);
        this.#forkLater();
      }
    });
  }

  #later(ms: number, what: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      what();
    }, ms);
    this.#timers.add(timer);
  }

  /** A worker that says why it cannot start says what the next ones would; one that was killed may have had bad luck. */
  #startFailed({ how, failure }: WorkerEnd): void {
    if (failure !== null) {
      const code = failure.isShortage ? "unreachable" : "internal";
      this.#starting?.reject(new TalkError(code, `a worker process does not start: ${failure.reason}`));
    } else if (++this.#failures > MAX_START_FAILURES) {
      this.#starting?.reject(TalkError.internal(`workers do not start: the last one ended with ${how}`));
    }
  }

  #exited(id: number, end: WorkerEnd, stranded: readonly HandedConnection[], livedMs: number): void {
    this.#workers.delete(id);
    this.#ready.delete(id);
    this.#bus.remove(id);
    if (this.#stopping) {
      for (const { socket } of stranded) socket.destroy();
      if (this.#workers.size === 0) this.#allGone?.();
      return;
    }
    const { how, failure } = end;
    if (this.#ready.size === 0) this.#startFailed(end);
    const reason = failure === null ? {} : { reason: failure.reason };
    this.#log.warn("worker died, starting another", { worker: id, how, ...reason });
    this.#owner.readyChanged([...this.#ready]);
    this.#owner.died(id, stranded);
    this.replaced++;
    this.#pause = livedMs > HEALTHY_MS ? FIRST_PAUSE_MS : Math.min(this.#pause * 2, LONGEST_PAUSE_MS);
    this.#forkLater();
  }
}
