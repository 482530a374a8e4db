// Rejected connections: closed, with the reason where the client can read it.
import type { Socket } from "node:net";

export const TOO_MANY = "too many connections";
export const NO_DESCRIPTOR = "no descriptor left for one more connection";

/** @param tls the other side expects TLS: then the reason would be noise @param word the code of the error reply */
export function refuse(socket: Socket, reason: string, tls: boolean, word = "FULL"): void {
  socket.on("error", () => {});
  if (tls) socket.destroy();
  else socket.end(`-${word} ${reason}\r\n`, () => socket.destroy());
}
