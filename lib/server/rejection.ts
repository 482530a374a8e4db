// Rejected connections: closed, with the reason where the client can read it.
import type { Socket } from "node:net";
import { LINGER_MS } from "./limits.ts";

/** To a client that speaks plain where TLS is wanted: it may read this, and TLS was not begun. */
const TLS_WANTED = "-TLS this server takes TLS connections only\r\n";
/** To a client that speaks TLS where it is not. It reads no more than that this is no TLS. */
export const PLAIN_SERVER = "-ERR this server does not speak TLS\r\n";

export const TOO_MANY = "too many connections";
export const NO_DESCRIPTOR = "no descriptor left for one more connection";

/** @param tls the other side expects TLS: then the reason would be noise @param word the code of the error reply */
export function refuse(socket: Socket, reason: string, tls: boolean, word = "FULL"): void {
  socket.on("error", () => {});
  if (tls) socket.destroy();
  else socket.end(`-${word} ${reason}\r\n`, () => socket.destroy());
}

/** A connection that has begun with something else than TLS, at a server that takes nothing else from there. */
export function refusePlain(socket: Socket): void {
  socket.on("error", () => {});
  const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
  socket.once("close", () => clearTimeout(timer));
  socket.resume(); // unread bytes would turn the close into a reset, and the reason would be lost
  socket.end(TLS_WANTED);
}
