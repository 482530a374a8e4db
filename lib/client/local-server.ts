// The identity of the server on this host: compares the uid that the kernel gives with the one that the server claims
// and with the owner of the port. Detects another user's relay before the client signs anything for it.
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { TalkError } from "../base/errors.ts";
import { peerCredentials } from "../ipc/peer.ts";

/** The uid map of a process that is in no user namespace but the first, user_namespaces(7). */
const WHOLE_MAP = /^\s*0\s+0\s+4294967295\s*$/;

/**
 * Whether the uids that the kernel shows here are the host's. In a user namespace they are not: a client there stays on TCP, and nothing
 * is attested of it.
 */
export function canBeAttested(): boolean {
  known ??= readMap();
  return known;
}

let known: boolean | undefined;

function readMap(): boolean {
  try {
    return WHOLE_MAP.test(readFileSync("/proc/self/uid_map", "latin1"));
  } catch {
    return false;
  }
}

/**
 * Checks the process at the other end of a Unix socket.
 * @param path of the socket. Root may listen at a path for the server (a service manager); root of a container that shares the network
 * may have an abstract name
 * @param serverUid what it says of itself
 * @throws TalkError refused
 */
export function checkServerProcess(socket: Socket, path: string, serverUid: number | null): void {
  const { uid } = peerCredentials(socket);
  if (uid === serverUid || (uid === 0 && !path.startsWith("@")) || !canBeAttested()) return;
  throw TalkError.refused(
    `the process that listens at ${path} runs as uid ${uid}, and calls itself a server of uid ${serverUid ?? "unknown"}: it passes on what another server says`,
  );
}

/**
 * Checks the owner of the port that led to the server. Our own forwarder, and root's, are as good as the server.
 * @param owners of the sockets that listen there
 * @throws TalkError refused
 */
export function checkPortOwners(server: string, owners: ReadonlySet<number>, serverUid: number | null): void {
  const right = [serverUid, 0, process.geteuid?.()];
  const other = [...owners].find((uid) => !right.includes(uid));
  if (other === undefined) return;
  throw TalkError.refused(
    `a program of uid ${other} has the port of ${server}, and the server there says that it is of uid ${serverUid ?? "unknown"}: it is a relay`,
  );
}

/** @param keys of what answered on the port, and of what answered on the Unix socket that it named. @throws TalkError refused */
export function checkSameServer(server: string, [asked, told]: readonly [string, string]): void {
  if (asked === told) return;
  throw TalkError.refused(`${server} names a Unix socket at which a server with another key answers`);
}
