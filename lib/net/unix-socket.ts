// Unix sockets that listen at a path, unix(7). The path is taken only from a server that is dead and one's own, and given back only
// while it still is this socket's.
import { closeSync, linkSync, lstatSync, renameSync, type Stats, unlinkSync } from "node:fs";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { TalkError } from "../base/errors.ts";
import { checkSocketPath } from "../base/socket-path.ts";
import { systemCode, systemMessage } from "../base/system-error.ts";
import { native } from "../native.ts";

/** Every user of the host may connect: the kernel tells the client's uid. */
const SOCKET_MODE = 0o666;
const BACKLOG = 4096;
/** Ms after which a socket without a listener is probed again: between bind(2) and listen(2) a live one looks dead. */
const SECOND_LOOK_MS = 50;
const MAX_ATTEMPTS = 5;
const PROBE_LIMIT_MS = 1_000;

/** A listening socket, by its descriptor: its acceptor takes it over. */
export interface ListeningSocket {
  readonly fd: number;
  readonly path: string;
  /** Removes the path, if it still is this socket's. */
  unlink(): void;
}

/**
 * Listens at a path, with permissions for everybody. A socket there that another server listens at stays untouched; one that is dead is
 * replaced if it is this user's own.
 * @throws TalkError usage (the path), unreachable (a live server), refused (another user's, no socket, no permission)
 */
export async function listenAtPath(path: string): Promise<ListeningSocket> {
  checkSocketPath(path, "socket");
  for (let attempt = 1; ; attempt++) {
    try {
      const fd = native.listenUnix(path, SOCKET_MODE, BACKLOG);
      const own = statusOf(path);
      return { fd, path, unlink: () => own !== null && unlinkSame(path, own) };
    } catch (error) {
      if (systemCode(error) !== "EADDRINUSE" || attempt === MAX_ATTEMPTS)
        throw TalkError.refused(`cannot listen at ${path}: ${systemMessage(error as Error)}`, error);
    }
    await removeDead(path);
  }
}

/** Releases a socket that was not taken over. */
export function closeListening({ fd, unlink }: ListeningSocket): void {
  unlink();
  closeSync(fd);
}

async function removeDead(path: string): Promise<void> {
  const found = statusOf(path);
  if (found === null) return; // it has gone meanwhile
  if (!found.isSocket()) throw TalkError.refused(`cannot listen at ${path}: there is something that is no socket`);
  if (!(await isDead(path))) throw occupied(path);
  if (found.uid !== process.geteuid?.())
    throw TalkError.refused(`cannot listen at ${path}: a socket of another user (uid ${found.uid}) is there`);
  await sleep(SECOND_LOOK_MS);
  if (!(await isDead(path))) throw occupied(path);
  // Another server may have replaced it meanwhile: only the probed socket may go.
  const aside = `${path}.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return;
    throw TalkError.refused(`cannot replace ${path}: ${systemMessage(error as Error)}`, error);
  }
  if (!isSame(statusOf(aside), found)) linkSync(aside, path);
  unlinkSync(aside);
}

const occupied = (path: string): TalkError =>
  new TalkError("unreachable", `cannot listen at ${path}: another server is listening there`);

/**
 * Whether no process listens there, or the path does not exist.
 * @throws TalkError refused when that cannot be found out
 */
function isDead(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    const end = (dead: boolean): void => {
      socket.destroy();
      resolve(dead);
    };
    socket.setTimeout(PROBE_LIMIT_MS, () => end(false)); // its queue is full: somebody is there
    socket.once("connect", () => end(false));
    socket.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED" || error.code === "ENOENT") end(true);
      else if (error.code === "EAGAIN") end(false);
      else reject(TalkError.refused(`cannot listen at ${path}: a socket is there, and ${error.message}`, error));
    });
  });
}

function unlinkSame(path: string, own: Stats): void {
  if (!isSame(statusOf(path), own)) return; // removed, or another server's by now
  try {
    unlinkSync(path);
  } catch {
    // The folder is read-only by now, or somebody was quicker.
  }
}

function isSame(a: Stats | null, b: Stats): boolean {
  return a !== null && a.dev === b.dev && a.ino === b.ino;
}

function statusOf(path: string): Stats | null {
  return lstatSync(path, { throwIfNoEntry: false }) ?? null;
}

/** Whether a descriptor that was handed over is a Unix socket. */
export function isUnixSocket(fd: number): boolean {
  return native.isUnixSocket(fd);
}
