// What ends `ptalk serve` from outside: SIGTERM and SIGHUP at once, SIGINT after a question.
import { isatty } from "node:tty";
import { type SignalInfo, sigaction } from "../ipc/index.ts";
import { type ConfirmPrompt, isYes } from "./confirm-prompt.ts";
import { type Log, type LogFields, STDERR, silentLog, writeOrForget } from "./log.ts";
import { openPrompt } from "./open-prompt.ts";

/** The server, as far as signals are concerned. */
export interface Stoppable {
  readonly clients: number;
  readonly stopping: Promise<void>;
  stop(reason: string): Promise<void>;
}

/** For the rest of the process: a terminal that closes sends SIGHUP, and its shell another one, which must not end us halfway. */
export class ShutdownSignals {
  readonly #json: boolean;
  readonly #early = new AbortController();
  #server: Stoppable | null = null;
  #log: Log = silentLog;
  /** The open question. */
  #asked: ConfirmPrompt | null = null;
  #over = false;

  constructor(json: boolean) {
    this.#json = json;
    // From the first moment on: a signal while the server starts must not leave half of it in shared memory.
    sigaction("SIGINT", (info) => this.#interrupted(info));
    sigaction("SIGTERM", () => this.stop("SIGTERM"));
    sigaction("SIGHUP", hasTerminal() ? () => this.stop("SIGHUP") : "ignore");
  }

  /** Aborted by what would stop the server while there is none yet. */
  get early(): AbortSignal {
    return this.#early.signal;
  }

  /** From now on signals are about this server. */
  watch(server: Stoppable, log: Log): void {
    this.#server = server;
    this.#log = log;
    if (this.early.aborted) void server.stop("aborted");
    void server.stopping.then(() => {
      this.#over = true;
      this.#release();
    });
  }

  stop(reason: string): void {
    this.#release();
    if (this.#server === null) this.#early.abort();
    else void this.#server.stop(reason);
  }

  #release(): void {
    this.#asked?.release();
    this.#asked = null;
  }

  #interrupted(info: SignalInfo): void {
    if (this.#over) return;
    if (this.#server === null || this.#asked !== null) {
      this.stop("SIGINT");
      return;
    }
    const { clients } = this.#server;
    const from = senderOf(info);
    const prompt = openPrompt();
    const question = `${clients} clients are connected. Shut down? [y/N]`;
    if (from === null) this.#say(prompt, question, "interrupted", { clients });
    else this.#say(prompt, `SIGINT from ${from}. ${question}`, "interrupted", { clients, from });
    if (prompt === null) {
      this.#say(null, "ptalk: nobody to ask: going on (SIGTERM shuts down)", "going on", { reason: "nobody to ask" });
      return;
    }
    this.#asked = prompt;
    prompt.readLine((answer) => {
      if (isYes(answer)) {
        this.stop("SIGINT");
        return;
      }
      this.#say(prompt, "ptalk: going on", "going on", answer === null ? { reason: "end of input" } : { answer });
      this.#release();
    });
  }

  /** To the prompt, and as an event to the log unless that is where the prompt reads it: a log for machines has only events. */
  #say(prompt: ConfirmPrompt | null, text: string, event: string, fields: LogFields): void {
    const atTerminal = prompt?.atTerminal === true;
    if (atTerminal) prompt.print(`${text}\n`);
    else if (!this.#json) writeOrForget(STDERR, `${text}\n`);
    if (this.#json || (atTerminal && !isatty(STDERR))) this.#log.info(event, fields);
  }
}

/** Ctrl-C comes from the kernel; anything else has a sender, which belongs into the question. */
function senderOf({ code, pid, uid }: SignalInfo): string | null {
  return code !== SI_KERNEL && pid > 0 ? `pid ${pid} (uid ${uid})` : null;
}

const SI_KERNEL = 0x80; // sigaction(2)

/**
 * Without a terminal SIGHUP says nothing about us. That is how `nohup` works here: it takes the terminal away; that the signal was
 * ignored, which it also sees to, Node forgets when it starts.
 */
function hasTerminal(): boolean {
  return [0, 1, 2].some((fd) => isatty(fd));
}
