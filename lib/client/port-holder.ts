// The holder of a port on which no server answers: on this host the kernel tells.
import { TalkError } from "../base/errors.ts";
import { formatServerAddress, isLoopback, type ServerAddress } from "../base/server-address.ts";
import { holderOfPort } from "../directory/live-server.ts";

/** The failure of a greeting; with the user, and the pid where it can be seen, of a program that is no server. */
export function namingHolder(error: unknown, address: ServerAddress): unknown {
  if (!(error instanceof TalkError) || !["unreachable", "protocol"].includes(error.code)) return error;
  const holder = isLoopback(address.host) ? holderOfPort(address) : null;
  if (holder === null || holder.isServer) return error;
  const server = formatServerAddress(address);
  const program = `a program of user ${holder.user}${holder.pid === null ? "" : ` (pid ${holder.pid})`}`;
  const message = `no lookup server at ${server}: ${program} has that port, and does not answer as one (${error.message})`;
  return new TalkError("unreachable", message, { cause: error, remedy: "foreign-port", subject: server });
}
