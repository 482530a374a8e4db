// systemd's two small protocols: sockets handed over at start (sd_listen_fds(3)) and "I am ready" (sd_notify(3)).
import { debuglog } from "node:util";
import { notifySocket } from "../net/sockets.ts";
import type { ServerOptions } from "./options.ts";

const debug = debuglog("ptalk-server");
const FIRST_FD = 3; // SD_LISTEN_FDS_START

/** The listening socket that systemd has opened, if it has. */
export function socketFromSystemd(env: NodeJS.ProcessEnv = process.env): Pick<ServerOptions, "listenFd"> {
  if (env.LISTEN_PID !== String(process.pid) || !/^[1-9]/.test(env.LISTEN_FDS ?? "")) return {};
  // Not for our workers.
  delete env.LISTEN_PID;
  delete env.LISTEN_FDS;
  delete env.LISTEN_FDNAMES;
  return { listenFd: FIRST_FD };
}

/** @param state such as "READY=1"; does nothing without a service manager */
export function notifySystemd(state: string, env: NodeJS.ProcessEnv = process.env): void {
  const socket = env.NOTIFY_SOCKET;
  if (socket === undefined || socket === "") return;
  try {
    notifySocket(socket, state);
  } catch (error) {
    debug("sd_notify: %o", error);
  }
}
