// The service of a host: a server that root has installed for everybody (contrib/ptalk.service). Where its socket's path exists, clients
// of the host use it and no other: never somebody else's server.
import { existsSync } from "node:fs";
import { DEFAULT_HOST, DEFAULT_PORT, type ServerAddress } from "./server-address.ts";

/** Only root can put anything there. */
export const SERVICE_SOCKET = "/run/ptalk/ptalk.sock";

/** Whether a client that is to go to this address goes to the service instead: that of this host, where nobody asked for another. */
export function isServiceAt({ host, port }: ServerAddress): boolean {
  return host === DEFAULT_HOST && port === DEFAULT_PORT && existsSync(SERVICE_SOCKET);
}
