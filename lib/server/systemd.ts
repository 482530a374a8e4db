// systemd's two small protocols: sockets handed over at start (sd_listen_fds(3)) and "I am ready" (sd_notify(3)).
import { debuglog } from "node:util";
import { notifySocket } from "../net/sockets.ts";
import { isUnixSocket } from "../net/unix-socket.ts";
import type { ServerOptions } from "./options.ts";

const debug = debuglog("ptalk-server");
const FIRST_FD = 3; // SD_LISTEN_FDS_START

/** A service unit has at most one socket of each kind. */
const MOST_FDS = 2;

/** The listening sockets that systemd has opened, if it has: of TCP, and a Unix socket. */
export function socketsFromSystemd(env: NodeJS.ProcessEnv = process.env): Pick<ServerOptions, "listenFd" | "socketFd"> {
  const count = /^[1-9]\d{0,3}$/.test(env.LISTEN_FDS ?? "") ? Math.min(Number(env.LISTEN_FDS), MOST_FDS) : 0;
  if (env.LISTEN_PID !== String(process.pid) || count === 0) return {};
  // Not for our workers.
  delete env.LISTEN_PID;
  delete env.LISTEN_FDS;
  delete env.LISTEN_FDNAMES;
  const fds = Array.from({ length: count }, (_, index) => FIRST_FD + index);
  const [listenFd, socketFd] = [fds.find((fd) => !isUnixSocket(fd)), fds.find(isUnixSocket)];
  return { ...(listenFd === undefined ? {} : { listenFd }), ...(socketFd === undefined ? {} : { socketFd }) };
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
