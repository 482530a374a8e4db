// Named points between the steps of a store, where a test pretends that the process is killed. Outside of tests a point is one call of an
// empty function.

let onPoint: (point: string) => Promise<void> | void = () => {};

/** For tests: called at each point; one that never returns stands for a SIGKILL there. */
export function setStoreFailpoint(listener: (point: string) => Promise<void> | void): void {
  onPoint = listener;
}

/** Something has been done, and what follows may never be. */
export function failpoint(point: string): Promise<void> | void {
  return onPoint(point);
}
