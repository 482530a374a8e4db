// System calls that fail, from outside and without a change of the program: strace(1)'s fault injection.
import { spawn, spawnSync } from "node:child_process";
import type { Outcome } from "./cli.ts";

/** Why no faults can be injected here; null when they can. */
export const whyNoFaults: string | null = tryStrace();

function tryStrace(): string | null {
  const { error, status, stderr } = spawnSync("strace", ["-qq", "-e", "inject=chdir:error=EIO", "true"], {
    encoding: "utf8",
  });
  if (error) return "strace(1) is missing";
  return status === 0 ? null : `ptrace is not allowed here: ${stderr.trim().split("\n")[0]}`;
}

export interface Fault {
  /** One or more, with commas between. */
  readonly syscall: string;
  /** As strace names it: "ENOSPC". */
  readonly error: string;
  /** Only calls that concern one of these paths; all calls without. */
  readonly paths?: readonly string[];
}

const WATCHDOG_MS = 60_000;

/** Runs a program, and every process that it starts, with that fault. */
export function withFault(
  { syscall, error, paths = [] }: Fault,
  command: readonly string[],
  { env, input = "", stopOnOutput }: { env: NodeJS.ProcessEnv; input?: string; stopOnOutput?: RegExp },
): Promise<Outcome> {
  const only = paths.flatMap((path) => ["-P", path]);
  const strace = ["-f", "-qq", "-o", "/dev/null", ...only, "-e", `inject=${syscall}:error=${error}`];
  return new Promise((resolve, reject) => {
    const child = spawn("strace", [...strace, ...command], { env, detached: true });
    const endAll = (signal: NodeJS.Signals): void => void process.kill(-(child.pid ?? 0), signal);
    const watchdog = setTimeout(() => endAll("SIGKILL"), WATCHDOG_MS);
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
      if (stopOnOutput?.test(stdout)) endAll("SIGTERM");
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.stdin.on("error", () => {}).end(input);
    child.on("error", reject).on("close", (code, signal) => {
      clearTimeout(watchdog);
      // What strace says of a call of the loader that it cannot tamper with is not the program's.
      resolve({ code, signal, stdout, stderr: stderr.replace(/^strace: .*\n/gm, "") });
    });
  });
}
