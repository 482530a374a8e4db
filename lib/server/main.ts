// `ptalk serve`: start, say so, serve until a signal ends it, leave nothing behind.

import { debuglog } from "node:util";
import { TalkError } from "../base/errors.ts";
import { detachTerminal } from "../base/lost-terminal.ts";
import { type Log, openLog, STDOUT, writeOrForget } from "./log.ts";
import { LookupServer } from "./lookup-server.ts";
import { readyLines } from "./main-text.ts";
import type { ServerOptions } from "./options.ts";
import { ShutdownSignals } from "./shutdown-signals.ts";
import { notifySystemd, socketsFromSystemd } from "./systemd.ts";

/** Exit status of a server that could not end in order: EX_SOFTWARE of sysexits(3). */
const FAILED_STATUS = 70;
const debug = debuglog("ptalk-server");
/** Ms that a server gets to clean up after an unforeseen error. */
const LAST_RESORT_MS = 10_000;

/** Resolves when the server has stopped in good order. @throws TalkError, once everything is cleaned up */
export async function serve(options: ServerOptions): Promise<void> {
  const interrupts = new ShutdownSignals(options.json ?? false);
  process.on("exit", detachTerminal);
  const log = openLog(options.json ?? false);
  const failure = watchForFailure(log, () => interrupts.stop("failed"));
  try {
    const server = await LookupServer.start({ ...socketsFromSystemd(), ...options, log, signal: interrupts.early });
    for (const line of readyLines(server)) writeOrForget(STDOUT, `${line}\n`);
    notifySystemd("READY=1");
    interrupts.watch(server, log);
    void server.stopping.then(() => notifySystemd("STOPPING=1"));
    await server.stopped;
  } catch (error) {
    if (!interrupts.early.aborted) throw error;
  }
  if (failure.error !== null) throw failure.error;
}

/** What would end the process at once, and leave its objects in shared memory, stops it in order; only a second one does not. */
function watchForFailure(log: Log, stop: () => void): { error: TalkError | null } {
  const failure: { error: TalkError | null } = { error: null };
  process.on("uncaughtException", (error: unknown) => {
    const reason = error instanceof Error ? error : new Error(String(error));
    const failed = TalkError.internal(`the server failed: ${reason.message}`, reason);
    log.error("failed", { error: reason });
    debug("%o", reason);
    if (failure.error !== null) process.exit(FAILED_STATUS);
    failure.error = failed;
    setTimeout(() => process.exit(FAILED_STATUS), LAST_RESORT_MS).unref();
    stop();
  });
  return failure;
}
