// A separate process that takes part in a lock, as a test drives it (the process is test/fixtures/lock/participant.js).
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { LockStats } from "../../lib/ipc/index.ts";
import { isStopped } from "./processes.ts";

const fixture = join(import.meta.dirname, "../fixtures/lock/participant.js");
/** Far beyond any answer; a hang fails with a message that says whose. */
const WATCHDOG_MS = 30_000;

interface Answer {
  id?: number;
  value?: unknown;
  error?: { name: string; code?: string; message: string };
  stoppedAt?: string;
}

export type Options = Record<string, string | number | boolean>;

export class LockParticipant {
  readonly child: ChildProcess;
  readonly ended: Promise<unknown>;
  readonly #answers = new Map<number, (answer: Answer) => void>();
  readonly #stopped: Promise<string>;
  #tellStopped: (step: string) => void = () => {};
  #nextId = 0;
  #hasFailpoint = false;
  #freezes = false;

  constructor(name: string, dataName: string) {
    this.child = spawn(process.execPath, [fixture, name, dataName], { stdio: ["pipe", "pipe", "inherit"] });
    this.ended = once(this.child, "close");
    this.#stopped = new Promise((resolve) => {
      this.#tellStopped = resolve;
    });
    if (!this.child.stdout) throw new Error("no pipe to the participant");
    createInterface({ input: this.child.stdout }).on("line", (line) => this.#hear(JSON.parse(line) as Answer));
    // One that was killed refuses input; what was asked of it is never answered.
    this.child.stdin?.on("error", () => {});
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** It was given no signal, and told to stop nowhere. */
  get isUndisturbed(): boolean {
    return !this.child.killed && !this.#hasFailpoint;
  }

  #hear(answer: Answer): void {
    if (answer.stoppedAt !== undefined) this.#tellStopped(answer.stoppedAt);
    else if (answer.id !== undefined) this.#answers.get(answer.id)?.(answer);
  }

  /** Starts a command; the promise is for its answer, without a watchdog: it may be meant never to come. */
  async start<T = unknown>(command: string, options: Options = {}): Promise<T> {
    const id = this.#nextId++;
    this.#freezes ||= command === "freezeAt";
    this.#hasFailpoint ||= command === "stopAt" || command === "freezeAt";
    const answer = await new Promise<Answer>((resolve) => {
      this.#answers.set(id, resolve);
      this.child.stdin?.write(`${JSON.stringify({ id, command, ...options })}\n`);
    });
    if (answer.error) throw Object.assign(new Error(answer.error.message), answer.error);
    return answer.value as T;
  }

  /** Runs a command to its answer; rejects with the error that it reported (its `code` and `name` included). */
  run<T = unknown>(command: string, options: Options = {}): Promise<T> {
    return within(this.start<T>(command, options), `pid ${this.pid}: ${command}`);
  }

  stats(): Promise<LockStats & { repairs: number }> {
    return this.run("stats");
  }

  /** Resolves once the process stands at the step it was told to stop at; after freezeAt it is stopped, too: it stops itself after saying so. */
  async stoppedAt(): Promise<string> {
    const step = await within(this.#stopped, `pid ${this.pid} to reach its step`);
    if (this.#freezes) await this.#untilStopped();
    return step;
  }

  /** Ends its input: it exits, and gives up its place. */
  async end(): Promise<void> {
    this.child.stdin?.end();
    await within(this.ended, `pid ${this.pid} to end`);
  }

  /** SIGKILL, and waits until the kernel has taken it away. */
  async kill(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.ended;
  }

  /** Resolves once every thread of the process is stopped (proc_pid_stat(5): T). */
  async freeze(): Promise<void> {
    this.child.kill("SIGSTOP");
    await this.#untilStopped();
  }

  async #untilStopped(): Promise<void> {
    for (const start = Date.now(); !isStopped(this.pid); await new Promise((resolve) => setTimeout(resolve, 1)))
      if (Date.now() - start > WATCHDOG_MS) throw new Error(`pid ${this.pid} does not stop`);
  }

  thaw(): void {
    this.child.kill("SIGCONT");
  }
}

export function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let watchdog: NodeJS.Timeout;
  const late = new Promise<never>((_, reject) => {
    watchdog = setTimeout(() => reject(new Error(`waited ${WATCHDOG_MS} ms for ${what}`)), WATCHDOG_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(watchdog));
}
