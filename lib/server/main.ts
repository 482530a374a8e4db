// `ptalk serve`: start, say so, serve until somebody ends it, leave nothing behind.
import { readyLines } from "./main-text.ts";
import { Interrupts } from "./interrupts.ts";
import { LookupServer } from "./lookup-server.ts";
import type { ServerOptions } from "./options.ts";
import { notifySystemd, socketFromSystemd } from "./systemd.ts";

/** Resolves when the server has stopped in good order. */
export async function serve(options: ServerOptions): Promise<void> {
  using interrupts = new Interrupts();
  const server = await LookupServer.start({ ...socketFromSystemd(), ...options });
  for (const line of readyLines(server)) process.stdout.write(`${line}\n`);
  notifySystemd("READY=1");
  interrupts.watch(server);
  await server.stopped;
}
