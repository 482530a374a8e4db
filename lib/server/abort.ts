// A promise that somebody may stop waiting for.

/**
 * The promise's outcome, or the signal's reason as soon as it is aborted.
 * @param undo what is done with a value that comes too late
 */
export async function unlessAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal | null,
  undo: (late: T) => void = () => {},
): Promise<T> {
  if (signal === null) return promise;
  let abort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
  });
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  try {
    return await Promise.race([aborted, promise]);
  } catch (error) {
    if (signal.aborted) promise.then(undo, () => {});
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
