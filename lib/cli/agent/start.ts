// `ptalk agent start`: an agent in a process of its own, which keeps nothing of the caller: no descriptor, no terminal, no folder.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, constants, fchmodSync, fstatSync, ftruncateSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { TalkError } from "../../base/errors.ts";
import { withoutInherited } from "../../client/inherited-descriptors.ts";
import { agentLogFile, ensureStateDir } from "../../store/state-paths.ts";

const PROGRAM = join(import.meta.dirname, "..", "..", "..", "bin", "ptalk.js");
/** Milliseconds until it has the name: a server may have to be started first, on a busy host. */
const START_LIMIT_MS = 20_000;
const LOOK_EVERY_MS = 20;
const MAX_LOG_BYTES = 1024 * 1024; // an older log past this is emptied at the next start
/** Bytes of the log that are read for the reason: a line. */
const REASON_BYTES = 1_024;
/** Variables of a service manager that are meant for the unit's own process: sd_notify(3), sd_listen_fds(3). */
const FOR_THE_UNIT =
  /^(LISTEN_|WATCHDOG_|NOTIFY_SOCKET$|FDSTORE$|MAINPID$|INVOCATION_ID$|JOURNAL_STREAM$|CREDENTIALS_DIRECTORY$)/;

export interface StartOptions {
  readonly stateDir: string;
  /** For the agent, behind "agent". */
  readonly args: readonly string[];
  /** Whether that process is an agent that is ready. */
  readonly isReady: (pid: number) => boolean;
  readonly signal: AbortSignal;
}

/** @returns the agent's pid. @throws TalkError with the agent's own words; the signal's reason, then the agent is ended */
export async function startAgent({ stateDir, args, isReady, signal }: StartOptions): Promise<number> {
  ensureStateDir(stateDir);
  const log = openLog(agentLogFile(stateDir));
  const from = fstatSync(log).size;
  const { child, ended } = launch(log, args);
  const end = performance.now() + START_LIMIT_MS;
  for (;;) {
    const over = ended();
    if (over !== null) throw new AgentFailed(over.status, reasonIn(agentLogFile(stateDir), from) ?? over.how);
    if (child.pid !== undefined && isReady(child.pid)) return child.pid;
    if (performance.now() > end || signal.aborted) {
      child.kill("SIGTERM");
      signal.throwIfAborted();
      throw TalkError.unreachable("its lookup server", `the agent has no name after ${START_LIMIT_MS / 1000} s`);
    }
    await sleep(LOOK_EVERY_MS);
  }
}

/** The agent did not begin; it has said why. */
export class AgentFailed extends Error {
  override readonly name = "AgentFailed";
  /** What it ended with; null where a signal ended it. */
  readonly status: number | null;
  constructor(status: number | null, reason: string) {
    super(reason);
    this.status = status;
  }
}

function openLog(path: string): number {
  const { O_WRONLY, O_CREAT, O_APPEND, O_NOFOLLOW, O_NONBLOCK } = constants;
  const log = openSync(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK, 0o600);
  fchmodSync(log, 0o600);
  if (fstatSync(log).size > MAX_LOG_BYTES) ftruncateSync(log, 0);
  return log;
}

interface Launched {
  readonly child: ChildProcess;
  readonly ended: () => { readonly status: number | null; readonly how: string } | null;
}

function launch(log: number, args: readonly string[]): Launched {
  const nothing = openSync("/dev/null", "r+");
  try {
    const child = spawn(process.execPath, [PROGRAM, "agent", ...args], {
      cwd: "/", // it must not keep a file system from being unmounted
      detached: true, // a session of its own: no terminal
      env: Object.fromEntries(Object.entries(process.env).filter(([name]) => !FOR_THE_UNIT.test(name))),
      stdio: withoutInherited(["ignore", log, log], nothing),
    });
    child.unref();
    let end: ReturnType<Launched["ended"]> = null;
    child.once("error", ({ message }) => {
      end = { status: null, how: `it could not be started: ${message}` };
    });
    child.once("exit", (status, signal) => {
      end = { status, how: signal === null ? `it ended with status ${status}` : `it was ended by ${signal}` };
    });
    return { child, ended: () => end };
  } finally {
    closeSync(log);
    closeSync(nothing);
  }
}

/** The last line that the agent has written; null if that cannot be read, or is none of its own. */
function reasonIn(path: string, from: number): string | null {
  const bytes = Buffer.alloc(REASON_BYTES);
  try {
    const fd = openSync(path, "r");
    try {
      const { size } = fstatSync(fd);
      const length = readSync(fd, bytes, 0, REASON_BYTES, Math.max(from, size - REASON_BYTES));
      const last = bytes.toString("utf8", 0, length).trim().split("\n").pop() ?? "";
      return last.startsWith("ptalk: ") ? last.slice("ptalk: ".length) : null;
    } finally {
      closeSync(fd);
    }
  } catch {
    return null;
  }
}
