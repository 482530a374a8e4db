// `ptalk serve`: start, say so, serve until somebody ends it, leave nothing behind.

import { Interrupts } from "./interrupts.ts";
import { openLog } from "./log.ts";
import { LookupServer } from "./lookup-server.ts";
import { readyLines } from "./main-text.ts";
import type { ServerOptions } from "./options.ts";
import { notifySystemd, socketFromSystemd } from "./systemd.ts";

/** Resolves when the server has stopped in good order. */
export async function serve(options: ServerOptions): Promise<void> {
  using interrupts = new Interrupts();
  const log = await openLog(options.json ?? false);
  const server = await LookupServer.start({ ...socketFromSystemd(), ...options, log });
  for (const line of readyLines(server)) process.stdout.write(`${line}\n`);
  notifySystemd("READY=1");
  interrupts.watch(server);
  void server.stopping.then(() => notifySystemd("STOPPING=1"));
  await server.stopped;
}
