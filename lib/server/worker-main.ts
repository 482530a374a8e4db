// A worker process: waits to be told what to serve, serves, and ends with its primary.
import type { Socket } from "node:net";
import { detachTerminal } from "../base/lost-terminal.ts";
import type { Directory } from "../directory/directory.ts";
import { openDirectory } from "../directory/open.ts";
import { sigaction } from "../ipc/index.ts";
import { openLog, silentLog } from "./log.ts";
import type { ToPrimary, ToWorker, WorkerConfig } from "./messages.ts";
import { Worker } from "./worker.ts";

/** Ms that clients get to read the farewell. */
const FAREWELL_MS = 300;

// Ctrl-C reaches the whole process group: the primary asks, and tells us. SIGTERM and SIGHUP to the group as well.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) sigaction(signal, "ignore");
process.on("message", (message, socket) => receive(message as ToWorker, socket as Socket | undefined));
process.on("exit", detachTerminal);
process.on("disconnect", () => process.exit()); // the primary is gone: nobody else could tell us to end

let worker: Worker | null = null;
void send({ type: "up" });

function receive(message: ToWorker, socket: Socket | undefined): void {
  if (message.type === "start") start(message.config, message.owners);
  else if (message.type === "stop") stop(message.reason);
  else {
    // Said before anything is read: from here on the connection lives and dies with this process.
    if (message.type === "connection") void send({ type: "adopted", ticket: message.ticket });
    worker?.handle(message, socket);
  }
}

function start(config: WorkerConfig, owners: readonly number[]): void {
  const log = config.quiet ? silentLog : openLog(config.json, config.id);
  if (config.directory === null) throw new Error("a worker process needs a directory that it can open");
  let directory: Directory;
  try {
    directory = openDirectory(config.directory, { log, publish: (events) => void send({ type: "events", events }) });
  } catch (error) {
    log.error("a worker cannot open the directory", { error });
    process.exit(1);
  }
  directory.setLiveWorkers(owners);
  worker = new Worker({ config, directory, log, send });
}

function send(message: ToPrimary): Promise<void> {
  return new Promise((resolve) => {
    if (process.connected) process.send?.(message, undefined, {}, () => resolve());
    else resolve();
  });
}

function stop(reason: string): void {
  worker?.stop(reason);
  setTimeout(() => process.exit(0), FAREWELL_MS);
}
