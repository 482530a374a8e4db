// The other end of a Unix socket: who it is, and open files sent to it. unix(7).
import type { Socket } from "node:net";
import { native } from "../native.ts";
import { IpcError } from "./error.ts";
import { checkInteger } from "./names.ts";
import { readiness } from "./readiness.ts";
import { abortError } from "./semaphore-wait.ts";

/** A connected Unix socket of node:net, or its descriptor. */
export type UnixSocket = Socket | number;

/** Who connected, or listens, at the other end: SO_PEERCRED, of the moment of connect(2) or listen(2), as the kernel saw it. */
export interface PeerCredentials {
  /** 0 when the process is in a pid namespace that this one cannot see into. */
  readonly pid: number;
  /** Effective user id. Never a default: what the kernel does not tell is an error. */
  readonly uid: number;
  /** Effective group id. */
  readonly gid: number;
}

/** Bytes and open files that came together. */
export interface ReceivedDescriptors {
  /** Never empty. */
  readonly data: Buffer;
  /** Close-on-exec, and the receiver's to close (`fs.closeSync`). Empty for bytes that came without. */
  readonly descriptors: readonly number[];
}

const FD_MAX = 2 ** 31 - 1;
const DEFAULT_RECEIVE_BYTES = 64 * 1024;
/** What goes with descriptors that come without data: there must be a byte. */
const NOTHING = Buffer.from([0]);
const NONE = new Int32Array(0);

/** What of node:net's socket is needed and not in its types: the descriptor, and whether Node reads it. */
interface Handle {
  readonly fd?: number;
  readonly reading?: boolean;
}

function handleOf(socket: Socket): Handle {
  return (socket as unknown as { readonly _handle?: Handle | null })._handle ?? {};
}

function descriptorOf(socket: UnixSocket, syscall: string): number {
  if (typeof socket === "number") {
    checkInteger("socket", socket, 0, FD_MAX);
    return socket;
  }
  const { fd } = handleOf(socket);
  if (fd === undefined || fd < 0)
    throw IpcError.of("EBADF", syscall, undefined, "the socket is not connected any more");
  return fd;
}

/**
 * Who is at the other end of a connected Unix socket. ENOTSUP for any other socket: the kernel knows the speaker of a Unix socket only;
 * ENOTCONN before it is connected, EBADF after it was closed. The process may have passed the socket on since: what counts is who connected.
 * @see https://man7.org/linux/man-pages/man7/unix.7.html
 */
export function peerCredentials(socket: UnixSocket): PeerCredentials {
  return native.peerCredentials(descriptorOf(socket, "getsockopt"));
}

/**
 * A pidfd of the process at the other end: it means that very process, whatever becomes of its number. The caller's to close
 * (`fs.closeSync`). null where the kernel (before Linux 6.5) has none. Errors as peerCredentials.
 */
export function peerPidfd(socket: UnixSocket): number | null {
  const fd = descriptorOf(socket, "getsockopt");
  native.peerCredentials(fd); // its errors, in its words
  const pidfd = native.peerPidfd(fd);
  return pidfd === -1 ? null : pidfd;
}

/**
 * Sends open files to the process at the other end, with at least one byte of data: SCM_RIGHTS. What was written to the socket before goes
 * first. Resolves when all bytes are with the kernel; the descriptors stay the sender's, who may close them then. At most 253 at once.
 * EBADF for one that is not open, EPIPE when the other end is gone, ETOOMANYREFS when too many are under way.
 * @param data what comes with them; one zero byte by default
 */
export async function sendDescriptors(
  socket: UnixSocket,
  descriptors: readonly number[],
  data: Uint8Array = NOTHING,
): Promise<void> {
  const wanted = checkedDescriptors(descriptors);
  if (data.byteLength === 0) throw new RangeError("data must have at least one byte: descriptors go with one");
  if (typeof socket !== "number" && (socket.connecting || socket.writableLength > 0)) await written(socket);
  let rest = data.subarray(await sendSome(socket, data, wanted));
  if (rest.byteLength > 0 && typeof socket !== "number") return written(socket, rest);
  while (rest.byteLength > 0) rest = rest.subarray(await sendSome(socket, rest, NONE));
}

/** Waits for room, and sends as much as there is room for: how many bytes. */
async function sendSome(socket: UnixSocket, data: Uint8Array, descriptors: Int32Array): Promise<number> {
  for (;;) {
    const fd = descriptorOf(socket, "sendmsg");
    const sent = native.sendDescriptors(fd, data, descriptors);
    if (sent > 0) return sent;
    await readiness(fd, { writable: true });
  }
}

/**
 * The next bytes of the socket, with the open files that were sent with them; null at its end. Node must not read the socket
 * itself, or it would throw the descriptors away: listen with `pauseOnConnect: true`, and call `pause()` on a socket before it connects
 * (EBUSY otherwise). EMFILE when not all of them can be opened here: then none is kept.
 * @param options `maxBytes`: the most bytes at once, 64 KiB by default; `signal` aborts the wait
 */
export async function receiveDescriptors(
  socket: UnixSocket,
  { maxBytes = DEFAULT_RECEIVE_BYTES, signal }: { maxBytes?: number; signal?: AbortSignal } = {},
): Promise<ReceivedDescriptors | null> {
  checkInteger("maxBytes", maxBytes, 1, FD_MAX);
  if (signal?.aborted) throw abortError(signal);
  const bytes = Buffer.allocUnsafe(maxBytes);
  const descriptors = new Int32Array(native.maxDescriptors + 1);
  for (;;) {
    if (typeof socket !== "number" && (handleOf(socket).reading === true || socket.readableLength > 0))
      throw IpcError.of("EBUSY", "recvmsg", undefined, NODE_READS);
    const fd = descriptorOf(socket, "recvmsg");
    const length = native.receiveDescriptors(fd, bytes, descriptors);
    if (length === 0) return null;
    if (length > 0) {
      const [count = 0] = descriptors;
      return { data: bytes.subarray(0, length), descriptors: [...descriptors.subarray(1, 1 + count)] };
    }
    await readiness(fd, { signal });
  }
}

const NODE_READS =
  "Node reads this socket itself: listen with pauseOnConnect, or call pause() before it connects, and receive then";

function checkedDescriptors(descriptors: readonly number[]): Int32Array {
  if (!Array.isArray(descriptors)) throw new TypeError("descriptors must be an array of numbers");
  if (descriptors.length === 0 || descriptors.length > native.maxDescriptors)
    throw new RangeError(`1 to ${native.maxDescriptors} descriptors can be sent at once, not ${descriptors.length}`);
  for (const descriptor of descriptors) checkInteger("a descriptor", descriptor, 0, FD_MAX);
  return Int32Array.from(descriptors);
}

function written(socket: Socket, data: Uint8Array = new Uint8Array(0)): Promise<void> {
  return new Promise((resolve, reject) => socket.write(data, (error) => (error ? reject(error) : resolve())));
}
