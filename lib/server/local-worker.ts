// The worker of a server without worker processes: the same object, in the same process, with plain calls for messages.
import type { Socket } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { DirectoryHost } from "../directory/directory.ts";
import type { Log } from "./log.ts";
import type { SendToPrimary, ToWorker, WorkerConfig } from "./messages.ts";
import type { Origin } from "./origin.ts";
import { Worker } from "./worker.ts";
import type { WorkerBus, WorkerHandle } from "./worker-bus.ts";

export class LocalWorker implements WorkerHandle {
  readonly id: number;
  readonly #worker: Worker;

  constructor(bus: WorkerBus, config: WorkerConfig, host: DirectoryHost, log: Log) {
    this.id = config.id;
    bus.add(this);
    // Deferred, so that neither side is re-entered.
    const send: SendToPrimary = async (message) => {
      await nextTurn();
      bus.receive(config.id, message);
    };
    const directory = host.open({ log, publish: (events) => void send({ type: "events", events }) });
    directory.setLiveWorkers(bus.owners);
    this.#worker = new Worker({ config, directory, log, send });
  }

  send(message: ToWorker): void {
    setImmediate(() => this.#worker.handle(message));
  }

  hand(socket: Socket, origin: Origin, full: boolean): void {
    this.#worker.handle({ type: "connection", origin, ticket: 0, full }, socket);
  }

  /** It is this process, which does not hang while it asks. */
  kill(): void {}

  async stop(reason: string): Promise<void> {
    this.#worker.stop(reason);
    await this.#worker.emptied();
    this.#worker.close();
  }
}
