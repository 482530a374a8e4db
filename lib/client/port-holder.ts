// The holder of a port: of one on which no server answers, and of one that messages were to come to. On this host the kernel tells.
import { TalkError } from "../base/errors.ts";
import { formatServerAddress, isLoopback, type ServerAddress } from "../base/server-address.ts";
import { userName } from "../base/users.ts";
import { holderOfPort } from "../directory/live-server.ts";
import { holderOfSocket, udpSocketsOn } from "../ipc/listeners.ts";

/** The failure of a greeting; with the user, and the pid where it can be seen, of a program that is no server. */
export function namingHolder(error: unknown, address: ServerAddress): unknown {
  if (!(error instanceof TalkError) || !["unreachable", "protocol"].includes(error.code)) return error;
  const holder = isLoopback(address.host) ? holderOfPort(address) : null;
  if (holder === null || holder.isServer) return error;
  const server = formatServerAddress(address);
  const program = programOf(holder);
  const message = `no lookup server at ${server}: ${program} has that port, and does not answer as one (${error.message})`;
  return new TalkError("unreachable", message, { cause: error, remedy: "foreign-port", subject: server });
}

/** The holder of the UDP port, as a clause. */
export function chatPortHeld(port: number): string {
  const [socket] = udpSocketsOn(port);
  if (socket === undefined) return "another program has it";
  return `${programOf({ user: userName(socket.uid), pid: holderOfSocket(socket.inode) })} has it`;
}

const programOf = ({ user, pid }: { readonly user: string; readonly pid: number | null }): string =>
  `a program of user ${user}${pid === null ? "" : ` (pid ${pid})`}`;
