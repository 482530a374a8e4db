// What `ptalk serve` says when it is ready.
import type { LookupServer } from "./lookup-server.ts";

/** The first line is what scripts wait for. */
export function readyLines(server: LookupServer): string[] {
  const workers = server.workers.length;
  const who = `pid ${process.pid}, ${workers} worker${workers === 1 ? "" : "s"}, room for ${server.capacity} clients`;
  const lines = [`ptalk: serving on ${server.address}`, `ptalk: ${who}`];
  if (server.certificate !== null) lines.push(`ptalk: TLS certificate ${server.certificate}`);
  if (server.metricsAddress !== null) lines.push(`ptalk: metrics at http://${server.metricsAddress}/metrics`);
  return lines;
}
