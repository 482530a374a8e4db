// The sections of one instance of a lock: in the order they were asked for, one at a time or, where the lock can be shared, together. What
// it takes to get the lock among processes is the Gate's; a gate sees one entry of this instance at a time.
import { AsyncResource } from "node:async_hooks";
import { IpcError } from "./error.ts";
import { kindOf } from "./names.ts";
import { isWithin, type LockIdentity, runSection } from "./own-sections.ts";

/** For a critical section. */
export interface SectionOptions {
  /** How long to wait to get in, in milliseconds, 0 to 2^31 - 1. Default 10,000. */
  timeoutMs?: number;
  /** Aborting rejects with an AbortError within 100 ms, unless the section has begun. */
  signal?: AbortSignal;
}

/** How long an acquisition waits unless told otherwise, in milliseconds. */
const DEFAULT_TIMEOUT_MS = 10_000;
/** The longest that may be asked for: what a timer can hold, 24.8 days. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** One acquisition's patience. */
export interface Patience {
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** When it was asked for, by performance.now(), if it had to queue: that time counts. null: it was its turn at once. */
  readonly since: number | null;
}

export interface Gate {
  readonly identity: LockIdentity;
  /** The error that every use is refused with: it is closed. */
  refusal(): Error | undefined;
  /** Gets the lock, at once or later; throws, or rejects, with nothing held. */
  enter(shared: boolean, patience: Patience): undefined | Promise<void>;
  leave(shared: boolean): void;
  /** Whether one more shared section may run beside those that are inside. */
  mayShare(): boolean;
  /** One does. */
  joined(): void;
  timedOut(shared: boolean, timeoutMs: number): Error;
  /** The error of a section within a section. */
  nested(): Error;
}

type Section<T> = () => T | PromiseLike<T>;

interface Queued {
  readonly shared: boolean;
  /** Enters, then runs it. */
  enter(): void;
  /** Runs it beside those that are inside. */
  join(): void;
}

export class SectionQueue {
  readonly #gate: Gate;
  readonly #queue: Queued[] = [];
  /** A section is on its way in, or inside, or the next one is about to be. */
  #busy = false;
  /** Sections inside; more than one only of shared ones. */
  #inside = 0;
  #insideShared = false;

  constructor(gate: Gate) {
    this.#gate = gate;
  }

  /** Whether a section holds or awaits the lock. */
  get busy(): boolean {
    return this.#busy;
  }

  /** Runs the section once it is its turn. Not an async function: an uncontended synchronous section costs one promise, its result's. */
  run<T>(shared: boolean, section: Section<T>, options: SectionOptions | undefined): Promise<T> {
    const refusal = this.#refusal(section, options);
    if (refusal !== undefined) return Promise.reject(refusal);
    const patience: Patience = {
      timeoutMs: options?.timeoutMs ?? DEFAULT_TIMEOUT_MS,
      signal: options?.signal,
      since: null,
    };
    if (!this.#busy) return this.#enter(shared, section, patience);
    if (shared && this.#inside > 0 && this.#queue.length === 0 && this.#mayShare()) return this.#join(section);
    return this.#enqueue(shared, section, patience);
  }

  #refusal(section: unknown, options: SectionOptions | undefined): Error | undefined {
    if (typeof section !== "function") return new TypeError(`the section must be a function, not ${kindOf(section)}`);
    const refusal = this.#gate.refusal();
    if (refusal !== undefined) return refusal;
    if (isWithin(this.#gate.identity)) return this.#gate.nested();
    return options === undefined ? undefined : invalidOptions(options);
  }

  /** Caller has found the instance free, or has its turn. */
  #enter<T>(shared: boolean, section: Section<T>, patience: Patience): Promise<T> {
    this.#busy = true;
    try {
      const entered = this.#gate.enter(shared, patience);
      if (entered !== undefined) return this.#runWhenIn(entered, shared, section);
    } catch (error) {
      this.#next();
      return Promise.reject(error);
    }
    return this.#runFirst(shared, section);
  }

  async #runWhenIn<T>(entered: Promise<void>, shared: boolean, section: Section<T>): Promise<T> {
    try {
      await entered;
    } catch (error) {
      this.#next();
      throw error;
    }
    return this.#runFirst(shared, section);
  }

  // Caller is inside, and no other section of this instance.
  #runFirst<T>(shared: boolean, section: Section<T>): Promise<T> {
    this.#insideShared = shared;
    const result = this.#run(section);
    while (this.#inside > 0 && this.#queue[0]?.shared && this.#mayShare()) this.#queue.shift()?.join();
    return result;
  }

  #mayShare(): boolean {
    return this.#insideShared && this.#gate.mayShare();
  }

  // Caller shares: others of this instance are inside.
  #join<T>(section: Section<T>): Promise<T> {
    this.#gate.joined();
    return this.#run(section);
  }

  #run<T>(section: Section<T>): Promise<T> {
    this.#inside++;
    try {
      return Promise.resolve(runSection(this.#gate.identity, section, () => this.#ended()));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #ended(): void {
    if (--this.#inside > 0) return;
    this.#gate.leave(this.#insideShared);
    this.#next();
  }

  // Later, not now: a thousand synchronous sections in the queue would be a thousand calls deep.
  #next(): void {
    if (this.#queue.length === 0) this.#busy = false;
    else queueMicrotask(() => (this.#queue.length === 0 ? this.#next() : this.#queue.shift()?.enter()));
  }

  #enqueue<T>(shared: boolean, section: Section<T>, { timeoutMs, signal }: Patience): Promise<T> {
    const patience: Patience = { timeoutMs, signal, since: performance.now() };
    return new Promise<T>((resolve, reject) => {
      const forget = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
      };
      const giveUp = (error: Error) => {
        forget();
        this.#queue.splice(this.#queue.indexOf(entry), 1);
        reject(error);
      };
      const entry: Queued = {
        shared,
        // In the context of the caller: it is the end of somebody else's section that calls these.
        enter: AsyncResource.bind(() => {
          forget();
          resolve(this.#enter(shared, section, patience));
        }),
        join: AsyncResource.bind(() => {
          forget();
          resolve(this.#join(section));
        }),
      };
      const timer = setTimeout(() => giveUp(this.#gate.timedOut(shared, timeoutMs)), timeoutMs);
      const onAbort = () => giveUp(abortedWait(signal));
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#queue.push(entry);
    });
  }
}

function invalidOptions({ timeoutMs, signal }: SectionOptions): Error | undefined {
  if (signal?.aborted) return abortedWait(signal);
  if (timeoutMs === undefined) return undefined;
  if (typeof timeoutMs !== "number") return new TypeError(`timeoutMs must be a number, not ${kindOf(timeoutMs)}`);
  if (!(timeoutMs >= 0 && timeoutMs <= MAX_TIMEOUT_MS))
    return new RangeError(`timeoutMs must be from 0 to ${MAX_TIMEOUT_MS}, not ${timeoutMs}`);
  return undefined;
}

export function abortedWait(signal: AbortSignal | undefined): Error {
  const error = new Error("the wait for the lock was aborted", { cause: signal?.reason });
  error.name = "AbortError";
  return Object.assign(error, { code: "ABORT_ERR" });
}

/** EDEADLK, for every kind of lock. */
export function nestedSection(name: string): IpcError {
  return IpcError.of(
    "EDEADLK",
    "sem_wait",
    name,
    "a section within a section on the same lock would wait for itself: ask for it after the first one has ended",
  );
}
