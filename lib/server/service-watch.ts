// The default server makes way for the service of the host, once that accepts: its clients go there.
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { SERVICE_SOCKET } from "../base/service.ts";

const LOOK_MS = 1_000;

/** @param onService called once, when the service has accepted a connection */
export function watchForService(onService: () => void): Disposable {
  let socket: ReturnType<typeof connect> | null = null;
  const timer = setInterval(() => {
    if (socket !== null || !existsSync(SERVICE_SOCKET)) return;
    socket = connect({ path: SERVICE_SOCKET });
    socket.once("connect", () => {
      stop();
      onService();
    });
    socket.once("error", () => {
      socket?.destroy();
      socket = null; // no process listens there yet
    });
    socket.unref();
  }, LOOK_MS).unref();
  const stop = (): void => {
    clearInterval(timer);
    socket?.destroy();
  };
  return { [Symbol.dispose]: stop };
}
