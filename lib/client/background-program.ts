// A ptalk that goes on when this process ends: the default server, an agent. It keeps nothing of its starter: no descriptor, no terminal,
// no folder, no variable of a service manager; its output goes to a log. The log's last line says why it ended.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, constants, fchmodSync, fstatSync, ftruncateSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { withoutInherited } from "./inherited-descriptors.ts";

const PROGRAM = join(import.meta.dirname, "..", "..", "bin", "ptalk.js");
/** Bytes of the log that are read for the reason: a line. */
const REASON_BYTES = 1_024;
const MAX_LOG_BYTES = 1024 * 1024; // a start empties an older log past this
/** Variables of a service manager that are meant for the unit's own process: sd_notify(3), sd_listen_fds(3). */
const FOR_THE_UNIT =
  /^(LISTEN_|WATCHDOG_|NOTIFY_SOCKET$|FDSTORE$|MAINPID$|INVOCATION_ID$|JOURNAL_STREAM$|CREDENTIALS_DIRECTORY$)/;

export interface ProgramEnd {
  /** Exit status; null where a signal ended it, or it could not be started. */
  readonly status: number | null;
  /** A clause: "ended with status 69". */
  readonly how: string;
  /** The last line that it wrote, without "ptalk: "; null if that is none of its own. */
  readonly reason: string | null;
}

export interface BackgroundProgram {
  readonly child: ChildProcess;
  /** Undefined while it lives. */
  readonly end: ProgramEnd | undefined;
}

/**
 * @param args behind "ptalk"
 * @param log path, in a folder that is there
 * @param isPassed which variables it gets, beside those of a service manager, which it never gets
 * @throws the system's error
 */
export function startInBackground(
  args: readonly string[],
  log: string,
  isPassed: (variable: string) => boolean = () => true,
): BackgroundProgram {
  const output = openLog(log);
  let nothing: number | undefined;
  try {
    nothing = openSync("/dev/null", "r+");
    const from = fstatSync(output).size;
    const variables = Object.entries(process.env).filter(([name]) => !FOR_THE_UNIT.test(name) && isPassed(name));
    const child = spawn(process.execPath, [PROGRAM, ...args], {
      cwd: "/", // it must not keep a file system from being unmounted
      detached: true, // a session of its own: neither our terminal's SIGINT nor its hang-up reaches it
      env: Object.fromEntries(variables),
      stdio: withoutInherited(["ignore", output, output], nothing),
    });
    child.unref();
    const program: { child: ChildProcess; end: ProgramEnd | undefined } = { child, end: undefined };
    child.once("error", ({ message }) => {
      program.end = { status: null, how: `could not be started: ${message}`, reason: null };
    });
    child.once("exit", (status, signal) => {
      const how = signal === null ? `ended with status ${status}` : `was ended by ${signal}`;
      program.end = { status, how, reason: reasonIn(log, from) };
    });
    return program;
  } finally {
    closeSync(output);
    if (nothing !== undefined) closeSync(nothing);
  }
}

function openLog(path: string): number {
  const { O_WRONLY, O_CREAT, O_APPEND, O_NOFOLLOW, O_NONBLOCK } = constants;
  const log = openSync(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK, 0o600);
  try {
    fchmodSync(log, 0o600);
    if (fstatSync(log).size > MAX_LOG_BYTES) ftruncateSync(log, 0);
    return log;
  } catch (error) {
    closeSync(log);
    throw error;
  }
}

function reasonIn(path: string, from: number): string | null {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return null;
  }
  try {
    const bytes = Buffer.alloc(REASON_BYTES);
    const length = readSync(fd, bytes, 0, REASON_BYTES, Math.max(from, fstatSync(fd).size - REASON_BYTES));
    const last = bytes.toString("utf8", 0, length).trim().split("\n").pop() ?? "";
    return last.startsWith("ptalk: ") ? last.slice("ptalk: ".length) : null;
  } catch {
    return null;
  } finally {
    closeSync(fd);
  }
}
