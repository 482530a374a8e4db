// A hook for the crash tests: told the number of each step of docs/LOCK.md right after the step is done, it can stop the process
// there. Not part of the public API. Unset, it costs one test of a module variable.

let hook: ((step: string) => void) | undefined;

/**
 * Sets (or with undefined removes) the function that is told every step. For the test fixtures, which import it from dist.
 * @public
 */
export function setFailpoint(observer: ((step: string) => void) | undefined): void {
  hook = observer;
}

export function step(number: string): void {
  if (hook !== undefined) hook(number);
}
