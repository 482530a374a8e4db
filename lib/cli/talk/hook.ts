// The user's own program for each message, `on-message`. Without a shell; nothing of it reaches the terminal, and nobody waits for
// it. At most one runs at a time, and ten begin in a minute: what is more is left out and counted.
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { TalkMessage } from "../../client/types.ts";

const PER_MINUTE = 10;
const MINUTE_MS = 60_000;
/** Ms after which a call is ended, and after which it is killed if that did not help. */
const LIMIT_MS = 60_000;
const KILL_AFTER_MS = 2_000;
/** A longer log is emptied before the next call. */
const MAX_LOG_BYTES = 1024 * 1024;
/** The kernel takes variables of 128 KiB at most (execve(2), MAX_ARG_STRLEN); a text grows where it has NULs. */
const MAX_VARIABLE_BYTES = 120_000;

export interface HookOptions {
  /** Program and words. */
  readonly command: readonly string[];
  /** Gets what it prints. */
  readonly log: string;
  /** Called once, when a call fails. */
  readonly onFailure: (text: string) => void;
  readonly limitMs?: number;
}

export class MessageHook implements Disposable {
  readonly #options: HookOptions;
  #waiting: { readonly message: TalkMessage; readonly skipped: number }[] = [];
  /** Monotonic milliseconds of the calls that count against the limit. */
  #calledAt: number[] = [];
  #skipped = 0;
  #child: ChildProcess | undefined;
  #isRunning = false;
  #isClosed = false;
  #hasFailed = false;

  constructor(options: HookOptions) {
    this.#options = options;
  }

  /** A message has been shown. */
  onMessage(message: TalkMessage): void {
    if (message.auto) return; // two hooks that answer each other would never stop
    const now = performance.now();
    this.#calledAt = this.#calledAt.filter((at) => at > now - MINUTE_MS);
    if (this.#calledAt.length >= PER_MINUTE) {
      this.#skipped++;
      return;
    }
    this.#calledAt.push(now);
    this.#waiting.push({ message, skipped: this.#skipped });
    this.#skipped = 0;
    void this.#run();
  }

  /** Ends the call that runs; those that wait are left out. */
  [Symbol.dispose](): void {
    this.#isClosed = true;
    this.#waiting = [];
    if (this.#child !== undefined) signalGroup(this.#child, "SIGTERM");
  }

  async #run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      const failure = await this.#call(next.message, next.skipped).catch(reasonOf);
      if (failure !== null) this.#fail(failure);
    }
    this.#isRunning = false;
  }

  /** @returns what went wrong; null if nothing did */
  async #call(message: TalkMessage, skipped: number): Promise<string | null> {
    const { command, log, limitMs = LIMIT_MS } = this.#options;
    const [program = "", ...words] = command;
    await using file = await openLog(log);
    if (this.#isClosed) return null;
    const child = spawn(program, words, {
      detached: true, // a session of its own: no terminal, and one group to be ended with all that it starts
      env: { ...withoutOwn(process.env), ...variables(message, skipped) },
      stdio: ["ignore", file.fd, file.fd],
    });
    child.unref();
    this.#child = child;
    const timers: NodeJS.Timeout[] = [];
    const end = (signal: NodeJS.Signals, ms: number): void => {
      timers.push(setTimeout(() => signalGroup(child, signal), ms).unref());
    };
    end("SIGTERM", limitMs);
    end("SIGKILL", limitMs + KILL_AFTER_MS);
    try {
      return await new Promise((resolve) => {
        child.once("error", (error) => resolve(reasonOf(error)));
        child.once("exit", (code, signal) => resolve(code === 0 ? null : endOf(code, signal)));
      });
    } finally {
      for (const timer of timers) clearTimeout(timer);
      this.#child = undefined;
    }
  }

  #fail(reason: string): void {
    if (this.#hasFailed || this.#isClosed) return;
    this.#hasFailed = true;
    this.#options.onFailure(`on-message: ${reason}; its output is in ${this.#options.log}. It is not said again`);
  }
}

function openLog(path: string): Promise<FileHandle & AsyncDisposable> {
  const { O_WRONLY, O_CREAT, O_APPEND, O_NOFOLLOW, O_NONBLOCK } = constants;
  return open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK, 0o600).then(async (file) => {
    if ((await file.stat()).size > MAX_LOG_BYTES) await file.truncate();
    return file;
  });
}

/** What the program is told. A hook that sends is known by PTALK_ID: what it sends is automatic. */
function variables(message: TalkMessage, skipped: number): NodeJS.ProcessEnv {
  const { from, text, id, verified } = message;
  const told = {
    PTALK_FROM: from,
    PTALK_TEXT: text,
    PTALK_ID: id,
    PTALK_ROOM: message.room ?? "",
    PTALK_VERIFIED: verified ? "1" : "0",
    PTALK_ATTESTED: message.attested ?? "",
    PTALK_SKIPPED: String(skipped),
  };
  return Object.fromEntries(Object.entries(told).map(([name, value]) => [name, variable(value)]));
}

function variable(value: string): string {
  const shown = value.replaceAll("\0", "\u2400");
  if (Buffer.byteLength(shown) <= MAX_VARIABLE_BYTES) return shown;
  // Cut within a character, its rest is the replacement character.
  return Buffer.from(shown)
    .subarray(0, MAX_VARIABLE_BYTES)
    .toString("utf8")
    .replace(/\ufffd$/u, "");
}

/** Settings are meant for this program. */
function withoutOwn(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith("PTALK_")));
}

function signalGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // It has just ended.
  }
}

const endOf = (code: number | null, signal: NodeJS.Signals | null): string =>
  signal === null ? `the program ended with status ${code}` : `the program was ended by ${signal}`;

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
