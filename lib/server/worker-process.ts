// A worker in a process of its own, seen from the primary: forked, sent messages, noticed when it ends.
import cluster, { type Worker as Child } from "node:cluster";
import type { Socket } from "node:net";
import { fileURLToPath } from "node:url";
import type { Endpoint } from "./hub.ts";
import type { ToPrimary, ToWorker } from "./messages.ts";

/** Messages that may wait for one worker. One that lets this many pile up is stopped or hangs, and is replaced. */
const MAX_BACKLOG = 20_000;

/** Ms after which a connection should have arrived; twice that for a worker to say anything at all before it counts as hung. */
const ARRIVAL_MS = 5_000;

export interface HandedConnection {
  readonly socket: Socket;
  readonly address: string;
}

export interface WorkerWatcher {
  message(id: number, message: ToPrimary): void;
  /** A connection did not reach the worker: it has no descriptor left. */
  lost(id: number, address: string): void;
  /** @param stranded connections that it had been given but had not taken */
  exited(id: number, how: string, stranded: readonly HandedConnection[]): void;
}

export class WorkerProcess implements Endpoint {
  readonly id: number;
  readonly pid: number;
  readonly #child: Child;
  /** Handed over, but nobody has said that they arrived: ours to hand to another if this one dies. */
  readonly #underway = new Map<number, HandedConnection & { readonly at: number }>();
  readonly #watcher: WorkerWatcher;
  #check: NodeJS.Timeout | null = null;
  #heardAt = 0;
  #lastTicket = 0;
  #backlog = 0;

  constructor(watcher: WorkerWatcher) {
    // Set before every fork: the settings are the process's, and another server may have changed them.
    cluster.setupPrimary({
      exec: workerProgram(),
      args: [],
      execArgv: workerOptions(),
      serialization: "json",
      stdio: ["ignore", "ignore", "inherit", "ipc"], // the log is all that a worker says
    });
    this.#watcher = watcher;
    const child = cluster.fork();
    this.#child = child;
    this.id = child.id;
    this.pid = child.process.pid ?? 0;
    child.on("message", (message: ToPrimary) => {
      this.#heardAt = performance.now();
      if (message.type === "adopted") this.#adopted(message.ticket);
      else watcher.message(child.id, message);
    });
    child.on("error", () => {}); // a message that came too late for it; 'exit' tells the rest
    // The child_process event: cluster's own 'exit' is not sent for a fork that failed.
    child.process.once("exit", (code, signal) => {
      this.#stopChecking();
      watcher.exited(child.id, signal ?? `status ${code}`, [...this.#underway.values()]);
    });
  }

  send(message: ToWorker): void {
    this.#send(message);
  }

  hand(socket: Socket, address: string): void {
    const ticket = ++this.#lastTicket;
    this.#underway.set(ticket, { socket, address, at: performance.now() });
    this.#check ??= setInterval(() => this.#look(), ARRIVAL_MS / 2);
    this.#send({ type: "connection", address, ticket }, socket);
  }

  #send(message: ToWorker, socket?: Socket): void {
    if (!this.#child.isConnected()) return; // 'exit' is on its way
    this.#backlog++;
    // Kept open: if the worker dies with the descriptor still on its way to it, this copy is the only one.
    this.#child.process.send(message, socket, { keepOpen: true }, () => {
      this.#backlog--;
    });
    if (this.#backlog > MAX_BACKLOG) this.kill();
  }

  #adopted(ticket: number): void {
    this.#underway.get(ticket)?.socket.destroy();
    this.#underway.delete(ticket);
    if (this.#underway.size === 0) this.#stopChecking();
  }

  /** A worker without descriptors never sees the message, and one that is stopped sees nothing. */
  #look(): void {
    const now = performance.now();
    for (const [ticket, { socket, address, at }] of this.#underway) {
      if (now - at < ARRIVAL_MS) return;
      if (this.#heardAt > at) {
        this.#underway.delete(ticket);
        socket.end("-FULL no descriptor left for one more connection\r\n", () => socket.destroy());
        this.#watcher.lost(this.id, address);
      } else if (now - at > 2 * ARRIVAL_MS) {
        this.kill(); // its connections go to another one
        return;
      } else {
        this.send({ type: "ask-load", id: 0 }); // anything that it says will do
      }
    }
  }

  #stopChecking(): void {
    if (this.#check !== null) clearInterval(this.#check);
    this.#check = null;
  }

  kill(): void {
    this.#child.process.kill("SIGKILL");
  }
}

/** Node's options of this process, unless they are a program themselves (`node -e`): a worker would run that, and fork again. */
function workerOptions(): string[] {
  const isProgram = process.execArgv.some((option) =>
    /^(-[a-z]*[ep][a-z]*|--eval|--print|--input-type)\b/.test(option),
  );
  return isProgram ? [] : process.execArgv;
}

/** Compiled, as it is published; the tests run the sources of everything else. */
function workerProgram(): string {
  const here = import.meta.url;
  return fileURLToPath(new URL(here.endsWith(".ts") ? "../../dist/server/worker-main.js" : "./worker-main.js", here));
}
