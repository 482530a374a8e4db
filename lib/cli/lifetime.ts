// What ends a long-running command from outside: SIGTERM, SIGHUP, SIGINT (where it is not disabled), a closed stdout.
// The first asks for an orderly end, so that nothing is left behind; a second one ends the process at once.
import { constants } from "node:os";
import { EXIT } from "../errors.ts";
import { onBrokenPipe } from "./output.ts";

const SIGNALLED = 128; // what shells add to a signal's number in an exit status

/** Thrown through the command when it was told to end; not an error to report. */
export class Ended extends Error {
  override readonly name = "Ended";
  readonly exitCode: number;
  constructor(what: string, exitCode: number) {
    super(what);
    this.exitCode = exitCode;
  }
}

export interface Lifetime extends Disposable {
  /** Aborts, with an {@link Ended} as its reason, when the command should come to its end. */
  readonly signal: AbortSignal;
}

/** @param signals those that end the command; `ptalk talk` leaves SIGINT out because it ignores it */
export function openLifetime(signals: readonly NodeJS.Signals[] = ["SIGTERM", "SIGHUP", "SIGINT"]): Lifetime {
  const controller = new AbortController();
  const end = (what: string, exitCode: number): void => {
    if (controller.signal.aborted) process.exit(exitCode);
    controller.abort(new Ended(what, exitCode));
  };
  const onSignal = (name: NodeJS.Signals): void => end(name, SIGNALLED + constants.signals[name]);
  for (const name of signals) process.on(name, onSignal);
  const pipe = onBrokenPipe(() => end("stdout was closed", EXIT.ok));
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      for (const name of signals) process.off(name, onSignal);
      pipe[Symbol.dispose]();
    },
  };
}
