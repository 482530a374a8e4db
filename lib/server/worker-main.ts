// A worker process: waits for its configuration, serves, and ends with its primary.
import type { Socket } from "node:net";
import { debuglog } from "node:util";
import { detachTerminal } from "../base/lost-terminal.ts";
import { isShortage, systemMessage } from "../base/system-error.ts";
import type { HostAnswer, HostRequest } from "../directory/directory.ts";
import { openDirectory } from "../directory/open.ts";
import { sigaction } from "../ipc/index.ts";
import { openLog, silentLog } from "./log.ts";
import { MessageBatcher } from "./message-batcher.ts";
import type { ToPrimary, ToWorker, WorkerConfig } from "./messages.ts";
import { Worker } from "./worker.ts";

/** Ms that clients get to read the farewell. */
const FAREWELL_MS = 300;
/** Ms that the primary gets to take the reason of a failure. */
const REPORT_MS = 1_000;
/** Exit status after an error that nothing handles: EX_SOFTWARE of sysexits(3). */
const FAILED_STATUS = 70;
const debug = debuglog("ptalk-server");

// Ctrl-C reaches the whole process group: the primary asks, and tells us. SIGTERM and SIGHUP to the group as well.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) sigaction(signal, "ignore");
process.on("message", (messages: readonly ToWorker[], socket) => {
  for (const message of messages) receive(message, socket as Socket | undefined);
});
process.on("exit", detachTerminal);
process.on("uncaughtException", fail);
process.on("disconnect", () => process.exit()); // the primary is gone, and no other process ends this one

let worker: Worker | null = null;
const batcher = new MessageBatcher<ToPrimary>((messages, left) => {
  if (process.connected) process.send?.(messages, undefined, {}, left);
  else left();
});
void send({ type: "up" });

function receive(message: ToWorker, socket: Socket | undefined): void {
  if (message.type === "start") start(message.config, message.owners);
  else if (message.type === "stop") stop(message.reason);
  else if (message.type === "directory") answered(message.id, message.answer);
  else {
    // Leaves before anything is read, at the end of this turn: from here on the connection lives and dies with this process.
    if (message.type === "connection") void send({ type: "adopted", ticket: message.ticket });
    worker?.handle(message, socket);
  }
}

function start(config: WorkerConfig, owners: readonly number[]): void {
  const log = config.quiet ? silentLog : openLog(config.json, config.id);
  if (config.directory === null) throw new Error("a worker process needs a directory that it can open");
  const directory = openDirectory(config.directory, {
    log,
    publish: (events) => void send({ type: "events", events }),
    ask,
  });
  directory.setLiveWorkers(owners);
  worker = new Worker({ config, directory, log, send });
}

/** What the directory has asked of its host, by number. Bounded by the connections: each waits for one answer. */
const asked = new Map<number, (answer: HostAnswer) => void>();
let lastAsked = 0;

function ask(request: HostRequest): Promise<HostAnswer> {
  const id = ++lastAsked;
  return new Promise((resolve) => {
    asked.set(id, resolve);
    void send({ type: "directory", id, request });
  });
}

function answered(id: number, answer: HostAnswer): void {
  asked.get(id)?.(answer);
  asked.delete(id);
}

function send(message: ToPrimary): Promise<void> {
  return new Promise((resolve) => batcher.send(message, resolve));
}

/** Ends this process. The log is a line an event: the primary writes the reason, and Node's stack is for NODE_DEBUG. */
function fail(cause: unknown): void {
  const error = cause instanceof Error ? cause : new Error(String(cause));
  debug("%o", error);
  const end = () => process.exit(FAILED_STATUS);
  void send({ type: "failed", reason: systemMessage(error), isShortage: isShortage(error) }).then(end);
  batcher.flush();
  setTimeout(end, REPORT_MS);
}

function stop(reason: string): void {
  worker?.stop(reason);
  setTimeout(() => process.exit(0), FAREWELL_MS);
}
