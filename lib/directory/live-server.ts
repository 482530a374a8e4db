// The objects of the servers on this host, by name, and which of them are alive. Beside open.ts the one file of this folder that knows
// that there is shared memory: server, clients and commands all ask it.
//
//     /dev/shm/ptalk-server-PORT-UID.RANDOM         the table
//     /dev/shm/ptalk-server-PORT-UID.RANDOM.lock    its lock (and "sem.…", the lock's semaphores)
//     /dev/shm/ptalk-server-PORT-UID.RANDOM.names   the names and their keys, of a server that keeps nothing beyond its life
//     /dev/shm/ptalk-server-PORT-UID.RANDOM.sock    its Unix socket, of a server that clients have started
//     /dev/shm/ptalk-server-PORT-UID.RANDOM.admin   the same of any other server, for its administrators
//
// Anybody can put anything into the sticky /dev/shm. So nothing is believed by its name:
//   1. The port is the only arbiter. The live server of an address is the one that owns the socket that listens there.
//   2. An object counts if it is a regular file with one link, and belongs to the uid in its name, which owns that socket.
//   3. Its server is alive as long as the table's write lock is held. The server takes it before others can open the table, and the
//      question is asked as a reader: a reader's lock neither keeps the server from it nor makes a dead table look alive.
// Each server has names of its own, so the remains of others are never in its way. Every command of a uid removes
// those of that uid that no client waits for, and a server those of its port.
import { randomBytes } from "node:crypto";
import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  type Stats,
} from "node:fs";
import { DEFAULT_HOST, type ServerAddress } from "../base/server-address.ts";
import { serviceUid, userName } from "../base/users.ts";
import { holderOfSocket, type Listener, listenersOn } from "../ipc/listeners.ts";
import { LivenessLocks } from "../ipc/liveness-locks.ts";
import { loadNumber } from "../ipc/words.ts";
import { HEADER } from "./shm/table-layout.ts";

const SHM = "/dev/shm";
const RANDOM_BYTES = 8;
const SERVER_OBJECT = /^(sem\.)?(ptalk-server-([1-9]\d{0,4})-(0|[1-9]\d{0,9})\.[0-9a-f]{16})(\..+)?$/;
const ROOT = 0;
/** Seat of the server itself in the locks of its table. */
export const SERVER_SEAT = 0;
/** Ms for which a server that has started may read the table of the one before it: longer than names are held (SETTLING_MS). */
const READ_MS = 15_000;
/** Permission bits of an object until its server holds the lock. */
export const PRIVATE_MODE = 0o600;

export interface LiveServer {
  /** "/ptalk-server-5518-1000.0123456789abcdef": the table, as a POSIX name. */
  readonly name: string;
  readonly uid: number;
  /** As the server says. */
  readonly pid: number;
  /** Where its Unix socket is, if it has one, and its socket for administrators. */
  readonly socket: string;
  readonly adminSocket: string;
}

/** What a group of objects says by its name alone. */
interface NamedServer {
  readonly name: string;
  readonly port: number;
  readonly uid: number;
  readonly files: string[];
}

/** A name that no server has had. */
export function newServerName(port: number): string {
  return `/ptalk-server-${port}-${process.geteuid?.() ?? ROOT}.${randomBytes(RANDOM_BYTES).toString("hex")}`;
}

export const lockName = (server: string): string => `${server}.lock`;
export const namesFile = (server: string): string => `${SHM}${server}.names`;
/** Where a server has its Unix socket. */
export const socketPath = (server: string): string => `${SHM}${server}.sock`;
export const adminSocketPath = (server: string): string => `${SHM}${server}.admin`;

/** The name of the server whose object that POSIX name is; null for any other object. */
export function serverOf(object: string): string | null {
  const base = SERVER_OBJECT.exec(object.slice(1))?.[2];
  return base === undefined ? null : `/${base}`;
}

/** The uid in the name of a server's table; null if it is no such name. */
export function ownerInName(server: string): number | null {
  const [, , base, , uid, end] = SERVER_OBJECT.exec(server.slice(1)) ?? [];
  return base === undefined || end !== undefined ? null : Number(uid);
}

/**
 * The server to which a connection to that address goes, if it is one of this host whose objects are in this /dev/shm. Null says
 * nothing about the address itself: what answers there may have another /dev/shm, or be no server at all.
 */
export function findLiveServer(address: ServerAddress): LiveServer | null {
  const listeners = listenersAt(address);
  for (const server of serversOf(address.port, listeners)) {
    const found = lookAt(server, listeners);
    if (found !== null) return found;
  }
  return null;
}

/** The table of a server on that address that this user may not read (--table-mode): its POSIX name; null if there is none. */
export function hiddenTableAt(address: ServerAddress): string | null {
  for (const { name, uid } of serversOf(address.port, listenersAt(address))) {
    const status = lstatSync(`${SHM}${name}`, { throwIfNoEntry: false });
    if (status === undefined || !isOwned(status, uid)) continue;
    try {
      accessSync(`${SHM}${name}`, constants.R_OK);
    } catch {
      return name;
    }
  }
  return null;
}

/** The sockets that receive connections to that address. */
export const listenersAt = ({ host, port }: ServerAddress): Listener[] =>
  listenersOn(host === "localhost" ? DEFAULT_HOST : host, port);

function serversOf(port: number, listeners: readonly Listener[]): NamedServer[] {
  if (listeners.length === 0) return [];
  // A socket that a service manager opened is root's.
  const service = listeners.some(({ uid }) => uid === ROOT) ? serviceUid() : null;
  const isOwner = (uid: number): boolean => uid === service || listeners.some((listener) => listener.uid === uid);
  return namedServers().filter((server) => server.port === port && isOwner(server.uid));
}

function lookAt({ name, uid }: NamedServer, listeners: readonly Listener[]): LiveServer | null {
  const fd = openTable(name, constants.O_RDONLY);
  if (fd === null) return null;
  try {
    if (!isOwned(fstatSync(fd), uid) || !new LivenessLocks(fd, 1).isOwned(SERVER_SEAT)) return null;
    const words = new Int32Array(HEADER.padding);
    if (readSync(fd, words, 0, words.byteLength, 0) !== words.byteLength) return null;
    const inode = loadNumber(words, HEADER.listener);
    if (!listeners.some((listener) => listener.inode === inode)) return null; // of the same user's server on another address
    const pid = words[HEADER.serverPid] as number;
    return { name, uid, pid, socket: socketPath(name), adminSocket: adminSocketPath(name) };
  } finally {
    closeSync(fd);
  }
}

/** Opens what has the name of a table, whatever that is, and does not wait for it (a FIFO). Null where that cannot be. */
function openTable(name: string, flags: number): number | null {
  try {
    return openSync(`${SHM}${name}`, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return null;
  }
}

const isOwned = (status: Stats, uid: number): boolean => status.isFile() && status.nlink === 1 && status.uid === uid;

/** All groups of objects under the names of servers, whichever user made them; none on a host without shared memory. */
function namedServers(): NamedServer[] {
  let names: string[];
  try {
    names = readdirSync(SHM);
  } catch {
    return [];
  }
  const found = new Map<string, NamedServer>();
  for (const file of names) {
    const [, , base, port, uid] = SERVER_OBJECT.exec(file) ?? [];
    if (base === undefined) continue;
    const server = found.get(base) ?? { name: `/${base}`, port: Number(port), uid: Number(uid), files: [] };
    found.set(base, server);
    server.files.push(file);
  }
  return [...found.values()];
}

/** Whether some process holds the server's lock of the table with that name. A server makes it first, and removes it last. */
export function isServerAlive(name: string): boolean {
  const fd = openTable(name, constants.O_RDONLY);
  if (fd === null) return false;
  try {
    return fstatSync(fd).isFile() && new LivenessLocks(fd, 1).isOwned(SERVER_SEAT);
  } finally {
    closeSync(fd);
  }
}

/**
 * Removes the objects that dead servers of this user have left, except a table that may still be read: a successor
 * reads there who held which name.
 * @param isAwaited whether clients of the server on that port are about to start its successor
 * @returns the ports
 */
export function removeDeadServers(isAwaited: (port: number, name: string) => boolean = () => false): number[] {
  const uid = process.geteuid?.();
  const ports: number[] = [];
  const servers = namedServers();
  for (const { name, port, uid: inName, files } of servers) {
    // Others may have put thousands under this user's name: a look at one file of each is all that they get.
    if (inName !== uid || !files.some((file) => ownerOf(file) === uid) || isServerAlive(name)) continue;
    const born = latestBirth(servers, port);
    const isRead = born > Date.now() - READ_MS || (born === 0 && isAwaited(port, name));
    if (!isRead && removeFiles(name, files)) ports.push(port);
  }
  return ports;
}

function ownerOf(file: string): number | undefined {
  return lstatSync(`${SHM}/${file}`, { throwIfNoEntry: false })?.uid;
}

/** When the latest server of that port that is alive started, in milliseconds since the epoch; 0 if none is. */
function latestBirth(servers: readonly NamedServer[], port: number): number {
  return servers.reduce((latest, server) => (server.port === port ? Math.max(latest, bornAt(server)) : latest), 0);
}

/** Removes what the server of that name has left. @returns false if it is alive, or nothing is left */
export function removeServer(name: string): boolean {
  const found = namedServers().find((server) => server.name === name);
  return found !== undefined && !isServerAlive(name) && removeFiles(name, found.files);
}

/** When the server that has the objects started, in milliseconds since the epoch; 0 if none is alive. */
function bornAt({ name, uid }: NamedServer): number {
  const fd = openTable(name, constants.O_RDONLY);
  if (fd === null) return 0;
  try {
    if (!isOwned(fstatSync(fd), uid) || !new LivenessLocks(fd, 1).isOwned(SERVER_SEAT)) return 0;
    const words = new Int32Array(HEADER.padding);
    return readSync(fd, words, 0, words.byteLength, 0) === words.byteLength ? loadNumber(words, HEADER.createdAt) : 0;
  } finally {
    closeSync(fd);
  }
}

/**
 * A server that has just made its table may not have locked it yet. So the table goes under the lock: its maker then finds the lock taken,
 * or the table without a name, and makes another one.
 */
function removeFiles(name: string, files: readonly string[]): boolean {
  const fd = openTable(name, constants.O_RDWR);
  try {
    const locks = fd === null ? null : new LivenessLocks(fd, 1);
    if (locks !== null && !locks.tryClaim(SERVER_SEAT) && locks.isOwned(SERVER_SEAT)) return false; // a reader's lock is no server's
    return files.map(removeFile).includes(true);
  } finally {
    if (fd !== null) closeSync(fd);
  }
}

function removeFile(file: string): boolean {
  try {
    rmSync(`${SHM}/${file}`);
    return true;
  } catch {
    return false; // gone already, or another user's under our uid in its name
  }
}

/** The holder of a port: its socket's owner, and the process where this user may see it. */
export interface PortHolder {
  readonly uid: number;
  readonly user: string;
  readonly pid: number | null;
  /** It is a server of ptalk, with its objects in this /dev/shm. */
  readonly isServer: boolean;
}

/** Null where no process listens on that address, or /proc does not tell. */
export function holderOfPort(address: ServerAddress): PortHolder | null {
  const server = findLiveServer(address);
  if (server !== null) return { uid: server.uid, user: userName(server.uid), pid: server.pid, isServer: true };
  const [listener] = listenersAt(address);
  if (listener === undefined) return null;
  const { uid, inode } = listener;
  return { uid, user: userName(uid), pid: holderOfSocket(inode), isServer: false };
}

/** Groups of objects of dead servers, of all users, for `doctor`. */
export function deadServers(): { readonly name: string; readonly uid: number }[] {
  return namedServers()
    .filter(({ name }) => !isServerAlive(name))
    .map(({ name, uid }) => ({ name, uid }));
}
