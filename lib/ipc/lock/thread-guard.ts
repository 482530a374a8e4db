// One thread cannot wait for itself: instances of the same object in one thread share a seat, which one of them may have at a time.
// Two worker threads are two participants, and have two of these modules.

export interface ThreadGuard {
  /** The instance that holds or awaits the lock. */
  user: object | null;
}

const seats = new Map<string, WeakRef<ThreadGuard>>();
const forgotten = new FinalizationRegistry<string>((key) => {
  if (seats.get(key)?.deref() === undefined) seats.delete(key);
});

/** The seat for the object with this identity (fstat(2)). Kept alive by the instances that share it. */
export function threadSeat({ dev, ino }: { dev: number; ino: number }): ThreadGuard {
  const key = `${dev}:${ino}`;
  const known = seats.get(key)?.deref();
  if (known !== undefined) return known;
  const seat: ThreadGuard = { user: null };
  seats.set(key, new WeakRef(seat));
  forgotten.register(seat, key);
  return seat;
}
