// A worker in a process of its own, seen from the primary: forked, sent messages, noticed when it ends.
import cluster, { type Worker as Child } from "node:cluster";
import type { Socket } from "node:net";
import { fileURLToPath } from "node:url";
import type { Endpoint } from "./hub.ts";
import type { ToPrimary, ToWorker } from "./messages.ts";

/** Messages that may wait for one worker. One that lets this many pile up is stopped or hangs, and is replaced. */
const MAX_BACKLOG = 20_000;

export interface WorkerWatcher {
  message(id: number, message: ToPrimary): void;
  exited(id: number, how: string): void;
}

export class WorkerProcess implements Endpoint {
  readonly id: number;
  readonly pid: number;
  readonly #child: Child;
  #backlog = 0;

  constructor(watcher: WorkerWatcher) {
    // Set before every fork: the settings are the process's, and another server may have changed them.
    cluster.setupPrimary({ exec: workerProgram(), args: [], serialization: "json" });
    const child = cluster.fork();
    this.#child = child;
    this.id = child.id;
    this.pid = child.process.pid ?? 0;
    child.on("message", (message: ToPrimary) => watcher.message(child.id, message));
    child.on("error", () => {}); // a message that came too late for it; 'exit' tells the rest
    // The child_process event: cluster's own 'exit' is not sent for a fork that failed.
    child.process.once("exit", (code, signal) => watcher.exited(child.id, signal ?? `status ${code}`));
  }

  send(message: ToWorker, socket?: Socket, lost?: () => void): void {
    if (!this.#child.isConnected()) {
      lost?.();
      return;
    }
    this.#backlog++;
    const sent = (error: Error | null) => {
      this.#backlog--;
      if (error !== null && error !== undefined) lost?.();
    };
    this.#child.process.send(message, socket, {}, sent);
    if (this.#backlog > MAX_BACKLOG) this.kill();
  }

  kill(): void {
    this.#child.process.kill("SIGKILL");
  }
}

/** Compiled, as it is published; the tests run the sources of everything else. */
function workerProgram(): string {
  const here = import.meta.url;
  return fileURLToPath(new URL(here.endsWith(".ts") ? "../../dist/server/worker-main.js" : "./worker-main.js", here));
}
