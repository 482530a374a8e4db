// A command that runs under `ptalk when NAME -- COMMAND`, as if ptalk were not there: its standard streams are its own,
// signals are passed on, and its exit status is reported as a shell reports it.
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { systemCode } from "../../base/system-error.ts";
import { IpcError, sigaction } from "../../ipc/index.ts";
import type { End } from "./watched.ts";

/** What people and job schedulers send to have a program end, or do something of its own. */
const PASSED_ON = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM"] as const;
/** siginfo's code of a signal from the terminal: its whole foreground group has had it, the command among them. */
const SI_KERNEL = 128;
const SIGNALLED = 128; // what shells add to a signal's number
/** As in a shell: found but not to be run, and not found. */
const NOT_RUN = { found: 126, missing: 127 };

export type ChildOutcome =
  | { readonly end: End; readonly exitCode: number }
  /** It never ran. */
  | { readonly failure: string; readonly exitCode: number };

export async function runCommand(words: readonly string[]): Promise<ChildOutcome> {
  const [file = "", ...args] = words;
  const startedAt = performance.now();
  using signals = passSignals();
  let child: ReturnType<typeof spawn>;
  try {
    child = spawn(file, args, { stdio: "inherit" });
  } catch (error) {
    return notRun(file, error); // words longer than the system takes
  }
  signals.to(child.pid);
  return await new Promise((resolve) => {
    child.once("error", (error) => resolve(notRun(file, error)));
    child.once("exit", (status, signal) => {
      signals.to(undefined); // its number may be somebody else's by now
      const ms = Math.round(performance.now() - startedAt);
      const end = { pid: child.pid ?? 0, command: words.join(" "), status, signal, ms };
      resolve({ end, exitCode: status ?? SIGNALLED + (signal === null ? 0 : constants.signals[signal]) });
    });
  });
}

function notRun(file: string, error: unknown): ChildOutcome {
  const code = systemCode(error);
  if (code === "ENOENT") return { failure: `${file}: no such command`, exitCode: NOT_RUN.missing };
  const reason = code === "EACCES" ? "it cannot be run" : error instanceof Error ? error.message : String(error);
  return { failure: `${file}: ${reason}`, exitCode: NOT_RUN.found };
}

/** From now on signals end this program no more: those that come before there is a command are kept for it. */
function passSignals(): Disposable & { to(pid: number | undefined): void } {
  let pid: number | undefined;
  const early = new Set<NodeJS.Signals>();
  const claims: Disposable[] = [];
  for (const name of PASSED_ON) {
    const pass = ({ code }: { readonly code: number }): void => {
      if (code === SI_KERNEL) return;
      if (pid === undefined) early.add(name);
      else send(pid, name);
    };
    try {
      claims.push(sigaction(name, pass));
    } catch (error) {
      if (!(error instanceof IpcError)) throw error; // another claim holds it, a debugger's for instance
    }
  }
  return {
    to: (target) => {
      pid = target;
      if (pid === undefined) return;
      for (const name of early) send(pid, name);
      early.clear();
    },
    [Symbol.dispose]: () => {
      for (const claim of claims) claim[Symbol.dispose]();
    },
  };
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has just ended.
  }
}
