// Another program as a test sees it: lines in, lines out, an end. Every wait has a watchdog that names the program.
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** Far beyond what any answer takes; only there so that a hang fails with a message. */
const WATCHDOG_MS = 60_000;

export interface ProgramEnd {
  code: number | null;
  signal: NodeJS.Signals | null;
  stderr: string;
}

export class Program {
  readonly child: ChildProcess;
  readonly ended: Promise<ProgramEnd>;
  readonly #name: string;
  readonly #lines: string[] = [];
  readonly #waiting: ((line: string | null) => void)[] = [];
  #stderr = "";
  #over = false;

  constructor(command: string, args: readonly string[], options: { env?: NodeJS.ProcessEnv; cwd?: string } = {}) {
    this.#name = [command, ...args].join(" ").slice(0, 120);
    this.child = spawn(command, args, {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ...options.env },
      ...(options.cwd ? { cwd: options.cwd } : {}),
    });
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr += text;
    });
    // A program that has ended refuses input; its end is reported where it is awaited.
    this.child.stdin?.on("error", () => {});
    if (this.child.stdout) {
      createInterface({ input: this.child.stdout }).on("line", (line) => {
        const waiter = this.#waiting.shift();
        if (waiter) waiter(line);
        else this.#lines.push(line);
      });
    }
    this.ended = new Promise((resolve, reject) => {
      this.child.on("error", reject);
      this.child.on("close", (code, signal) => {
        this.#over = true;
        for (const waiter of this.#waiting.splice(0)) waiter(null);
        resolve({ code, signal, stderr: this.#stderr });
      });
    });
    // Awaited or not, a failure to start is not an unhandled rejection.
    this.ended.catch(() => {});
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error(`${this.#name} did not start`);
    return this.child.pid;
  }

  /** The next line of its output. Rejects when it ends, or says nothing for WATCHDOG_MS. */
  line(): Promise<string> {
    const ready = this.#lines.shift();
    if (ready !== undefined) return Promise.resolve(ready);
    return new Promise((resolve, reject) => {
      const fail = (why: string) => reject(new Error(`${this.#name} ${why}; it wrote to stderr: ${this.#stderr}`));
      if (this.#over) return fail("has ended");
      const watchdog = setTimeout(() => fail(`said nothing for ${WATCHDOG_MS} ms`), WATCHDOG_MS);
      this.#waiting.push((line) => {
        clearTimeout(watchdog);
        if (line === null) fail("ended instead of answering");
        else resolve(line);
      });
    });
  }

  say(text: string): void {
    this.child.stdin?.write(`${text}\n`);
  }

  /** Says one line and gives the next. */
  ask(text: string): Promise<string> {
    this.say(text);
    return this.line();
  }

  /** Ends its input and waits for it to go; kills it when it does not within WATCHDOG_MS. */
  async end(): Promise<ProgramEnd> {
    this.child.stdin?.end();
    const watchdog = setTimeout(() => this.child.kill("SIGKILL"), WATCHDOG_MS);
    try {
      return await this.ended;
    } finally {
      clearTimeout(watchdog);
    }
  }

  /** SIGKILL, unless it has ended; resolves when it is gone. */
  async kill(): Promise<ProgramEnd> {
    if (!this.#over) this.child.kill("SIGKILL");
    return this.ended;
  }
}
