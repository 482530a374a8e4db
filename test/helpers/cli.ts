// The command as a test runs it: in a process of its own, with folders of its own.

import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { COMMAND } from "./command.js";
import { Program } from "./program.ts";

const WATCHDOG_MS = 40_000;

export interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A user with folders for state and configuration that vanish with it. */
export class User implements Disposable {
  readonly home = mkdtempSync(join(tmpdir(), "ptalk-user-"));
  readonly env: NodeJS.ProcessEnv;
  readonly #prefix: readonly string[];

  /** @param prefix words before each command (OwnShm) */
  constructor(extra: NodeJS.ProcessEnv = {}, prefix: readonly string[] = []) {
    this.#prefix = prefix;
    const { NO_COLOR: _, PTALK_SERVER: __, ...rest } = process.env;
    this.env = {
      ...rest,
      HOME: this.home,
      XDG_STATE_HOME: join(this.home, "state"),
      XDG_CONFIG_HOME: join(this.home, "config"),
      ...extra,
    };
  }

  /** The command with those arguments, as spawn() takes it. */
  line(args: readonly string[]): [string, string[]] {
    const [file = "", ...words] = [...this.#prefix, ...COMMAND, ...args];
    return [file, words];
  }

  /** Runs the command to its end. */
  run(
    args: readonly string[],
    options: { input?: string | Uint8Array; env?: NodeJS.ProcessEnv } = {},
  ): Promise<Outcome> {
    const child = spawn(...this.line(args), { env: { ...this.env, ...options.env } });
    return outcomeOf(child, options.input);
  }

  /** Starts the command and leaves it running. */
  start(args: readonly string[], env: NodeJS.ProcessEnv = {}): Program {
    return new Program(...this.line(args), { env: { ...this.env, ...env } });
  }

  [Symbol.dispose](): void {
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** Runs a program with piped stdio to its end. */
export function outcomeOf(child: ChildProcessWithoutNullStreams, input: string | Uint8Array = ""): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const watchdog = setTimeout(() => child.kill("SIGKILL"), WATCHDOG_MS);
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.on("error", reject).on("close", (code, signal) => {
      clearTimeout(watchdog);
      resolve({ code, signal, stdout, stderr });
    });
    child.stdin.on("error", () => {}).end(input);
  });
}
