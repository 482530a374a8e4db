// What ends `ptalk serve` from outside: SIGTERM and SIGHUP at once, SIGINT after a question.
import { readFileSync } from "node:fs";
import { type SignalInfo, sigaction } from "../ipc/index.ts";
import { askOnTerminal, type OpenQuestion } from "./question.ts";

/** The server, as far as signals are concerned. */
export interface Stoppable {
  readonly clients: number;
  stop(reason: string): Promise<void>;
}

export class Interrupts implements Disposable {
  readonly #actions: Disposable[];
  #server: Stoppable | null = null;
  #early: string | null = null;
  #question: OpenQuestion | null = null;

  constructor() {
    // From the first moment on: a signal while the server starts must not leave half of it in shared memory.
    this.#actions = [
      sigaction("SIGINT", (info) => this.#interrupted(info)),
      sigaction("SIGTERM", () => this.#stop("SIGTERM")),
      sigaction("SIGHUP", () => this.#stop("SIGHUP")),
    ];
  }

  /** From now on signals are about this server. */
  watch(server: Stoppable): void {
    this.#server = server;
    if (this.#early !== null) void server.stop(this.#early);
  }

  [Symbol.dispose](): void {
    this.#question?.close();
    for (const action of this.#actions) action[Symbol.dispose]();
  }

  #stop(reason: string): void {
    this.#question?.close();
    this.#question = null;
    if (this.#server === null) this.#early = reason;
    else void this.#server.stop(reason);
  }

  #interrupted(info: SignalInfo): void {
    if (this.#server === null || this.#question !== null) {
      this.#stop("SIGINT");
      return;
    }
    const text = `${sender(info)}${this.#server.clients} clients are connected. Shut down? [y/N] `;
    if (!canAsk()) {
      process.stderr.write(`${text}\nptalk: nobody to ask: going on (SIGTERM shuts down)\n`);
      return;
    }
    this.#question = askOnTerminal(text, (answer) => {
      this.#question = null;
      if (answer === "yes") this.#stop("SIGINT");
      else process.stderr.write("ptalk: going on\n");
    });
  }
}

/** Ctrl-C comes from the kernel; anything else has a sender, which belongs into the question. */
function sender({ code, pid, uid }: SignalInfo): string {
  return code !== SI_KERNEL && pid > 0 ? `SIGINT from pid ${pid} (uid ${uid}). ` : "";
}

const SI_KERNEL = 0x80; // sigaction(2)

/** A background process that reads from the terminal, or sets its mode, is stopped by it (setpgid(2), tcsetpgrp(3)). */
function canAsk(): boolean {
  if (!process.stdin.isTTY) return !process.stdin.readableEnded;
  try {
    // /proc/PID/stat behind the command's closing parenthesis: state, ppid, pgrp, session, tty_nr, tpgid
    const stat = readFileSync("/proc/self/stat", "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[2] === fields[5];
  } catch {
    return true;
  }
}
