// Finds the section that waits for itself: one that asks, within itself, for a lock that it holds already. Two request handlers of one
// process that want the same lock are no such thing, so "who asks?" is a question of the asynchronous context, not of the process.
//
// AsyncLocalStorage answers it, and makes every promise of the process dearer while it is in use (twice on Node 20). So it is in use only
// while sections that may be asynchronous run: a lock whose sections have all been plain synchronous functions goes without.
import { AsyncLocalStorage } from "node:async_hooks";

/** One object, whatever the number of instances of it in this thread: fstat(2)'s device and inode. */
export interface LockIdentity {
  /** How many plain functions in a row have returned something else than a promise. */
  synchronous: number;
}

/** A section that is running; `outer` is the one that it was begun in. */
interface Running {
  readonly lock: LockIdentity;
  readonly outer: Running | undefined;
  /** False once it has ended: what it has left running is not inside it any more. */
  inside: boolean;
}

/** After so many synchronous sections of a lock its next plain function is taken for one, too. */
const SYNCHRONOUS_AFTER = 8;
/** The storage is given up when no tracked section has run for this long, in milliseconds. Taking it up again costs 5 us. */
const GIVE_UP_MS = 1000;

const identities = new Map<string, WeakRef<LockIdentity>>();
const forgotten = new FinalizationRegistry<string>((key) => {
  if (identities.get(key)?.deref() === undefined) identities.delete(key);
});

/** The same for all instances of an object (or of a part of it) in this thread, as long as one of them holds it. */
export function lockIdentity({ dev, ino }: { dev: number; ino: number }, part = ""): LockIdentity {
  const key = `${dev}:${ino}:${part}`;
  const known = identities.get(key)?.deref();
  if (known !== undefined) return known;
  const identity: LockIdentity = { synchronous: 0 };
  identities.set(key, new WeakRef(identity));
  forgotten.register(identity, key);
  return identity;
}

const contexts = new AsyncLocalStorage<Running>();
/** The section whose synchronous part runs at this moment, tracked or not. */
let current: Running | undefined;
let tracked = 0;
let givingUp = false;

/** Whether the caller runs within a section on this very lock. */
export function isWithin(lock: LockIdentity): boolean {
  return holds(current, lock) || (tracked > 0 && holds(contexts.getStore(), lock));
}

function holds(running: Running | undefined, lock: LockIdentity): boolean {
  for (let section = running; section !== undefined; section = section.outer)
    if (section.inside && section.lock === lock) return true;
  return false;
}

/**
 * Runs a section, and `ended` when it has: at once if it returns no promise or throws, otherwise when the promise settles. Returns
 * what it returns.
 */
export function runSection<T>(
  lock: LockIdentity,
  section: () => T | PromiseLike<T>,
  ended: () => void,
): T | Promise<T> {
  let outer = current ?? (tracked > 0 ? contexts.getStore() : undefined);
  while (outer !== undefined && !outer.inside) outer = outer.outer;
  const running: Running = { lock, outer, inside: true };
  const isTracked = lock.synchronous < SYNCHRONOUS_AFTER || section.constructor.name === "AsyncFunction";
  const before = current;
  const end = () => {
    running.inside = false;
    if (isTracked) untrack();
    ended();
  };
  let result: T | PromiseLike<T>;
  if (isTracked) tracked++;
  current = running;
  try {
    result = isTracked ? contexts.run(running, section) : section();
  } catch (error) {
    current = before;
    end();
    throw error;
  }
  current = before;
  if (isPromiseLike(result)) {
    lock.synchronous = 0;
    return Promise.resolve(result).finally(end);
  }
  lock.synchronous++;
  end();
  return result;
}

function untrack(): void {
  tracked--;
  if (givingUp) return;
  givingUp = true;
  setTimeout(() => {
    givingUp = false;
    if (tracked === 0) contexts.disable();
  }, GIVE_UP_MS).unref();
}

function isPromiseLike<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}
