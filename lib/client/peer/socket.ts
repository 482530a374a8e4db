// The UDP socket that everybody is talked to through.
import { createSocket, type Socket } from "node:dgram";
import { SOCKET_BUFFER_BYTES } from "./limits.ts";

/** Rejects with the system's error. @param address numeric; all of IPv4 and IPv6 when undefined @param port 0 for any */
export async function bind(address: string | undefined, port: number): Promise<Socket> {
  if (address !== undefined) return bindOne(address, port);
  try {
    return await bindOne("::", port);
  } catch (error) {
    // A host without IPv6.
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code !== "EAFNOSUPPORT" && code !== "EADDRNOTAVAIL" && code !== "EINVAL") throw error;
    return bindOne("0.0.0.0", port);
  }
}

function bindOne(address: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const type = address.includes(":") ? "udp6" : "udp4";
    const socket = createSocket({
      type,
      recvBufferSize: SOCKET_BUFFER_BYTES,
      sendBufferSize: SOCKET_BUFFER_BYTES,
      // Addresses are numeric already: node:dgram's way through dns.lookup would cost a turn of the event loop each.
      lookup: (host, _options, callback) => callback(null, host, type === "udp6" ? 6 : 4),
    });
    socket.once("error", reject);
    socket.bind({ address, port, exclusive: true }, () => {
      socket.off("error", reject);
      resolve(socket);
    });
  });
}
