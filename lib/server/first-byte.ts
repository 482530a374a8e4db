// What a connection begins with, without taking it away: so one port serves TLS and, from this machine, plain requests.
import type { Socket } from "node:net";

/** ContentType handshake: how every TLS connection begins (RFC 8446 section 5.1). No request of RESP, inline or not, begins so. */
export const TLS_HANDSHAKE = 0x16;

/**
 * Calls back once: with the first byte, which stays to be read from the paused socket, or with null when the connection ended
 * without one, or had none within `patienceMs`.
 */
export function firstByte(socket: Socket, patienceMs: number, decide: (byte: number | null) => void): void {
  const timer = setTimeout(() => socket.destroy(), patienceMs).unref();
  const onData = (chunk: Buffer): void => {
    settle();
    socket.pause();
    socket.unshift(chunk);
    decide(chunk[0] ?? null);
  };
  const onEnd = (): void => void socket.destroy();
  const onClose = (): void => {
    settle();
    decide(null);
  };
  const settle = (): void => {
    clearTimeout(timer);
    socket.off("data", onData).off("end", onEnd).off("close", onClose);
  };
  socket.on("data", onData).on("end", onEnd).on("close", onClose);
  socket.on("error", () => {}); // 'close' follows
  socket.resume();
}
