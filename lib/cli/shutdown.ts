// What ends a long-running command from outside: SIGTERM, SIGHUP, SIGINT (where it is not disabled), a stdout that takes no more.
// The first asks for an orderly end, so that nothing is left behind; a second signal ends the process at once. Not a second
// SIGHUP: a terminal that closes sends one, and its shell another.
import { constants } from "node:os";
import { CommandEnded } from "./command-ended.ts";
import { onOutputEnd } from "./output.ts";

const SIGNALLED = 128; // what shells add to a signal's number in an exit status

export interface Shutdown extends Disposable {
  /** Aborts, with an {@link CommandEnded} as its reason, when the command should come to its end. */
  readonly signal: AbortSignal;
}

export interface ShutdownOptions {
  /** Those that end the command; `ptalk talk` leaves SIGINT out because it ignores it. */
  readonly signals?: readonly NodeJS.Signals[];
  /** False: the command's work is not its output, and goes on without (`ptalk send`). */
  readonly endsWithOutput?: boolean;
}

export function watchShutdown({
  signals = ["SIGTERM", "SIGHUP", "SIGINT"],
  endsWithOutput = true,
}: ShutdownOptions = {}): Shutdown {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    if (name === "SIGHUP") endByHangup(); // whatever else ends the command meanwhile, as a read from a terminal that has gone
    const ended = new CommandEnded(name, SIGNALLED + constants.signals[name]);
    if (controller.signal.aborted && name !== "SIGHUP") process.exit(ended.exitCode);
    controller.abort(ended);
  };
  for (const name of signals) process.on(name, onSignal);
  const output = onOutputEnd((ended) => {
    if (endsWithOutput) controller.abort(ended);
  });
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      // A terminal that goes ends a conversation by the end of its input, mostly before we hear of the SIGHUP that came with it.
      for (const name of signals) if (name !== "SIGHUP") process.off(name, onSignal);
      output[Symbol.dispose]();
    },
  };
}

let isHungUp = false;

/** Has the process end by SIGHUP's own action, as those who wait for it expect, once it has done what there was to do. */
function endByHangup(): void {
  if (isHungUp) return;
  isHungUp = true;
  process.on("exit", () => {
    process.removeAllListeners("SIGHUP");
    process.kill(process.pid, "SIGHUP"); // does not return, unless we are process 1 of a container
  });
}
