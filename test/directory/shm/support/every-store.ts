// Stops the world after each store into a table: what a SIGKILL there would leave behind.

/** Runs `work`; after each of its atomic stores, `look` sees the memory as a crash at this point would leave it. */
export function atEveryStore(work: () => void, look: (storesDone: number) => void): number {
  const store = Atomics.store;
  let done = 0;
  let looking = false;
  const watched = ((array: Int32Array, index: number, value: number) => {
    const result = store(array, index, value);
    if (!looking) {
      looking = true;
      try {
        look(++done);
      } finally {
        looking = false;
      }
    }
    return result;
  }) as typeof Atomics.store;
  Atomics.store = watched;
  try {
    work();
  } finally {
    Atomics.store = store;
  }
  return done;
}
