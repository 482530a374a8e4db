// Where a connection comes from: an address of the network, or a process of this host, of which the kernel says whose it is.
// The uid of a connection comes from getsockopt(2) alone. It has no default: a connection without one is refused (CVE-2021-3560).
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { isLoopback } from "../base/server-address.ts";
import { peerCredentials } from "../ipc/peer.ts";

export interface Origin {
  /** As the server sees it, an IPv4 address in IPv4 notation; null on a Unix socket. */
  readonly address: string | null;
  /** The connection comes from this host. Of what comes through a forwarder on it the kernel says the same. */
  readonly isHere: boolean;
  /** On a Unix socket: the effective uid of the process that connected, as the kernel says; null on TCP. */
  readonly peerUid: number | null;
  /** The same uid where it identifies the client, see {@link countedUid}; else null. */
  readonly uid: number | null;
}

/** Where an endpoint on this host is reached. */
const LOOPBACK = "127.0.0.1";

/** @param own the server's address on that connection */
export function tcpOrigin(address: string, own = ""): Origin {
  return { address, isHere: isLoopback(address) || address === own, peerUid: null, uid: null };
}

/**
 * Of a connection that was accepted just now on a Unix socket.
 * @param kind an abstract socket is reached from each container that shares the host's network
 * @throws IpcError when the kernel does not give the uid: the connection must end
 */
export function unixOrigin(socket: Socket, kind: "path" | "abstract"): Origin {
  const { uid } = peerCredentials(socket);
  return { address: null, isHere: true, peerUid: uid, uid: countedUid(uid, kind) };
}

/**
 * The uid, if it is somebody's. The kernel's overflow uid stands for all users of other user namespaces. Root of a container that
 * shares the network has uid 0 too, so 0 counts on a socket in the file system only.
 */
export function countedUid(uid: number, kind: "path" | "abstract", overflowUid = overflow()): number | null {
  if (uid === overflowUid || uid === NO_UID || (uid === 0 && kind === "abstract")) return null;
  return uid;
}

/** (uid_t)-1 */
const NO_UID = 2 ** 32 - 1;
const DEFAULT_OVERFLOW_UID = 65_534;
let known: number | undefined;

function overflow(): number {
  known ??= readOverflow();
  return known;
}

function readOverflow(): number {
  try {
    const digits = readFileSync("/proc/sys/kernel/overflowuid", "latin1").trim();
    return /^\d{1,10}$/.test(digits) ? Number(digits) : DEFAULT_OVERFLOW_UID;
  } catch {
    return DEFAULT_OVERFLOW_UID;
  }
}

/** The owner that a connection counts for, where something is bounded: a user of this host, or an address. */
export function boundKey({ address, peerUid }: Origin): string {
  return address ?? `uid ${peerUid}`;
}

/** TCP from this host: nobody vouches for the user, and all users of the host come so. */
export function isLoopbackTcp({ address }: Origin): boolean {
  return address !== null && isLoopback(address);
}

/** The address at which this host reaches the client. */
export function reachableAt({ address }: Origin): string {
  return address ?? LOOPBACK;
}

/** For the log. */
export function originText({ address, peerUid }: Origin): string {
  return address ?? `uid ${peerUid}`;
}
