// The service of a host: a server that root has installed for everybody (contrib/ptalk.service). Where its socket's path exists, clients
// of the host use it and no other: never somebody else's server.
import { existsSync } from "node:fs";
import { DEFAULT_HOST, DEFAULT_PORT, type ServerAddress } from "./server-address.ts";

/** Only root can put anything there. */
export const SERVICE_SOCKET = "/run/ptalk/ptalk.sock";

/**
 * Whether a client connects to this host's service instead of this address: for the default address, where the
 * service's socket exists.
 */
export function isServiceAt({ host, port }: ServerAddress): boolean {
  return host === DEFAULT_HOST && port === DEFAULT_PORT && existsSync(SERVICE_SOCKET);
}
