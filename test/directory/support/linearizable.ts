// Whether what several callers saw of one object can be explained by one order of their operations: one that keeps the order of
// operations that did not overlap, and the order of the calls within each sequence (Herlihy and Wing 1990; the search is Wing and
// Gong's, with the states that it has been in).

export interface Operation<S> {
  /** Operations of one sequence take effect in the order of their calls. */
  readonly sequence: string;
  /** When it was called and answered, by one clock. */
  readonly called: number;
  readonly answered: number;
  /** The caller does not know whether it took effect, and it may do so after the answer. */
  readonly isUnknown: boolean;
  /** The state after it; null if the outcome that its caller saw is impossible in this state. */
  apply(state: S): S | null;
}

/** @param initial plain data, like all states */
export function isLinearizable<S>(operations: readonly Operation<S>[], initial: S): boolean {
  const bySequence = new Map<string, Operation<S>[]>();
  for (const operation of [...operations].sort((a, b) => a.called - b.called)) {
    const sequence = bySequence.get(operation.sequence);
    if (sequence === undefined) bySequence.set(operation.sequence, [operation]);
    else sequence.push(operation);
  }
  const sequences = [...bySequence.values()];
  const failed = new Set<string>();

  const search = (done: readonly number[], state: S): boolean => {
    const rest = sequences.map((sequence, i) => sequence.slice(done[i]));
    if (rest.every(({ length }) => length === 0)) return true;
    const key = JSON.stringify([done, state]);
    if (failed.has(key)) return false;
    // What was called after another one was answered comes after it.
    const firstAnswer = Math.min(...rest.flat().map(({ isUnknown, answered }) => (isUnknown ? Infinity : answered)));
    for (const [i, [next]] of rest.entries()) {
      if (next === undefined || next.called > firstAnswer) continue;
      const doneThen = done.with(i, (done[i] as number) + 1);
      const after = next.apply(state);
      if (after !== null && search(doneThen, after)) return true;
      if (next.isUnknown && search(doneThen, state)) return true;
    }
    failed.add(key);
    return false;
  };
  return search(
    sequences.map(() => 0),
    initial,
  );
}
