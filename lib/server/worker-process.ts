// A worker in a process of its own, seen from the primary: forked, sent messages, noticed when it ends.
import { type ChildProcess, fork } from "node:child_process";
import type { Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { isShortage, systemMessage } from "../base/system-error.ts";
import { isStopped } from "../ipc/process.ts";
import { MessageBatcher } from "./message-batcher.ts";
import type { ToPrimary, ToWorker } from "./messages.ts";
import type { Origin } from "./origin.ts";
import type { WorkerHandle } from "./worker-bus.ts";

/** Messages that may wait for one worker. One that lets this many pile up is stopped or hangs, and is replaced. */
const MAX_BACKLOG = 20_000;

/** Messages that may wait for a worker before calls and relayed datagrams are left out, as for a client that does not listen. */
const MAX_CALL_BACKLOG = 1_000;

/** Ms after which a connection should have arrived; twice that for a worker to say anything at all before it counts as hung. */
const ARRIVAL_MS = 5_000;

/**
 * Ms that a connection waits for a stopped worker (SIGSTOP). The worker could go on at any moment, and serve what it was given:
 * only when it is dead may another one have that.
 */
const STOPPED_MS = 1_000;
const ARRIVAL_CHECK_MS = 500;

const SENT_BY_ANYBODY: ReadonlySet<ToWorker["type"]> = new Set(["call", "knock", "relay"]);

export interface HandedConnection {
  readonly socket: Socket;
  readonly origin: Origin;
}

/** How a worker's process ended. */
export interface WorkerEnd {
  /** The signal, the status, or why there was no process. */
  readonly how: string;
  /** The error that ended it, if it could say so. */
  readonly failure: { readonly reason: string; readonly isShortage: boolean } | null;
}

export interface WorkerWatcher {
  message(id: number, message: ToPrimary): void;
  /** A connection did not reach the worker: it has no descriptor left. */
  lost(id: number, connection: HandedConnection): void;
  /** @param stranded connections that it had been given but had not taken */
  exited(id: number, end: WorkerEnd, stranded: readonly HandedConnection[]): void;
}

export class WorkerProcess implements WorkerHandle {
  readonly id: number;
  readonly pid: number;
  readonly #child: ChildProcess;
  /** Handed over, arrival not confirmed: if this worker dies, another one gets them. */
  readonly #underway = new Map<number, HandedConnection & { readonly at: number }>();
  readonly #watcher: WorkerWatcher;
  #failure: WorkerEnd["failure"] = null;
  #check: NodeJS.Timeout | null = null;
  #heardAt = 0;
  /** When a connection has arrived last. */
  #arrivedAt = 0;
  /** Checks in a row that found it stopped: after a Ctrl-Z of all, this process may go on a moment before the others. */
  #stoppedChecks = 0;
  #lastTicket = 0;
  #backlog = 0;
  readonly #batcher = new MessageBatcher<ToWorker>((messages, left) => this.#write(messages, left));

  /** @throws the system's error if there is no process to be had */
  constructor(id: number, watcher: WorkerWatcher) {
    this.id = id;
    this.#watcher = watcher;
    // Not node:cluster, whose settings are the whole program's.
    const child = fork(workerProgram(), [], {
      execArgv: workerOptions(),
      serialization: "json",
      stdio: ["ignore", "ignore", "inherit", "ipc"], // the log is all that a worker says
    });
    this.#child = child;
    this.pid = child.pid ?? 0;
    child.on("message", (messages: readonly ToPrimary[]) => {
      this.#heardAt = performance.now();
      for (const message of messages) {
        if (message.type === "adopted") this.#adopted(message.ticket);
        else if (message.type === "failed") this.#failure = message;
        else watcher.message(id, message);
      }
    });
    child.on("error", (error) => {
      // A message that came too late for it: 'exit' follows. A fork that failed has none.
      if (child.pid !== undefined) return;
      this.#failure = { reason: systemMessage(error), isShortage: isShortage(error) };
      this.#onExit("no process");
    });
    child.once("exit", (code, signal) => this.#onExit(signal ?? `status ${code}`));
  }

  #onExit(how: string): void {
    this.#stopChecking();
    this.#watcher.exited(this.id, { how, failure: this.#failure }, [...this.#underway.values()]);
  }

  send(message: ToWorker): void {
    // Anybody may send calls and datagrams to anybody: they are no reason to take a worker for hung.
    if (SENT_BY_ANYBODY.has(message.type) && this.#backlog > MAX_CALL_BACKLOG) return;
    this.#send(message);
  }

  hand(socket: Socket, origin: Origin, full: boolean): void {
    const ticket = ++this.#lastTicket;
    this.#underway.set(ticket, { socket, origin, at: performance.now() });
    this.#check ??= setInterval(() => this.#checkArrivals(), ARRIVAL_CHECK_MS);
    this.#batcher.flush(); // what was sent before arrives before
    this.#count();
    this.#write([{ type: "connection", origin, ticket, full }], () => this.#backlog--, socket);
  }

  #send(message: ToWorker): void {
    this.#count();
    this.#batcher.send(message, () => this.#backlog--);
  }

  #count(): void {
    this.#backlog++;
    if (this.#backlog > MAX_BACKLOG) this.kill();
  }

  #write(messages: readonly ToWorker[], left: () => void, socket?: Socket): void {
    if (!this.#child.connected) return; // 'exit' is on its way
    // Kept open: if the worker dies with the descriptor still on its way to it, this copy is the only one.
    this.#child.send([...messages], socket, { keepOpen: true }, left);
  }

  #adopted(ticket: number): void {
    this.#arrivedAt = this.#heardAt;
    this.#underway.get(ticket)?.socket.destroy();
    this.#underway.delete(ticket);
    if (this.#underway.size === 0) this.#stopChecking();
  }

  /** A worker without descriptors never sees the message, and one that is stopped sees nothing. */
  #checkArrivals(): void {
    const now = performance.now();
    this.#stoppedChecks = isStopped(this.pid) ? this.#stoppedChecks + 1 : 0;
    for (const [ticket, connection] of this.#underway) {
      const { at } = connection;
      // They arrive one after the other: one's time begins when the one before it has arrived. After a restart thousands wait.
      const since = Math.max(at, this.#arrivedAt);
      if (now - at > STOPPED_MS && this.#stoppedChecks > 1) {
        this.kill(); // its connections go to another one
        return;
      }
      if (now - since < ARRIVAL_MS) return;
      if (this.#heardAt > since) {
        this.#underway.delete(ticket);
        this.#watcher.lost(this.id, connection);
      } else if (now - since > 2 * ARRIVAL_MS) {
        this.kill();
        return;
      } else {
        this.send({ type: "ask-load", id: 0 }); // anything that it says will do, for the later ones as well
        return;
      }
    }
  }

  #stopChecking(): void {
    if (this.#check !== null) clearInterval(this.#check);
    this.#check = null;
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}

/** A program in the options themselves (`node -e`): a worker would run that, and fork again. */
const PROGRAM_OPTION = /^(-[a-z]*[ep][a-z]*|--eval|--print|--input-type)\b/;
/** The port of a debugger is this process's own. */
const DEBUGGER_OPTION = /^--inspect(-brk|-wait)?(=|$)/;

/** Node's options of this process, as far as they are good for a worker. */
function workerOptions(): string[] {
  if (process.execArgv.some((option) => PROGRAM_OPTION.test(option))) return [];
  return process.execArgv.filter((option) => !DEBUGGER_OPTION.test(option));
}

/** Compiled, as it is published; the tests run the sources of everything else. */
function workerProgram(): string {
  const here = import.meta.url;
  return fileURLToPath(new URL(here.endsWith(".ts") ? "../../dist/server/worker-main.js" : "./worker-main.js", here));
}
