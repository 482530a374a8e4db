// One buffer for what all connections of a worker receive. Usually Node allocates 64 KiB for every read and gives most of it
// back; with ten thousand connections, and a request of thirty bytes in each read, that is most of the work.
import { Socket } from "node:net";

export const READ_BYTES = 64 * 1024;

/** Node's constructor takes a handle, as its own server does; its type does not say so. */
interface HandleOptions {
  handle: unknown;
  allowHalfOpen: boolean;
  onread: { buffer: Uint8Array; callback: (bytes: number, buffer: Uint8Array) => boolean };
}

/**
 * The same connection as a socket that reads into `buffer` and calls back instead of emitting 'data'.
 * @param socket not read from yet; of no use afterwards
 * @param receive gets a view of `buffer`, to be done with when it returns
 * @returns null if this Node does not let us: then the socket is as it was
 */
export function withSharedBuffer(
  socket: Socket,
  buffer: Uint8Array,
  receive: (chunk: Uint8Array) => void,
): Socket | null {
  const owner = socket as unknown as { _handle?: { useUserBuffer?: unknown } | null };
  const handle = owner._handle;
  if (handle === null || handle === undefined || typeof handle.useUserBuffer !== "function") return null;
  owner._handle = null; // or the old object would close it
  const callback = (bytes: number) => {
    receive(buffer.subarray(0, bytes));
    return true;
  };
  const options: HandleOptions = { handle, allowHalfOpen: true, onread: { buffer, callback } };
  return new Socket(options as ConstructorParameters<typeof Socket>[0]);
}
