// The two semaphores of one epoch: "/name.E.queue" (service queue: whoever wants in holds it while entering) and "/name.E.room"
// (held by the writer, or by the readers together). Once the epoch moves on they are garbage, whatever their values.

import { constants, readdirSync } from "node:fs";
import { native } from "../../native.ts";
import { IpcError, isCode } from "../error.ts";
import { Semaphore } from "../semaphore.ts";

/** A lock's name, in bytes after its slash: a semaphore's (251) less the longest suffix, ".4294967294.queue". */
const LOCK_NAME_MAX = 251 - 17;

export function checkNameLength(name: string): void {
  const length = Buffer.byteLength(name) - 1;
  if (length <= LOCK_NAME_MAX) return;
  const detail = `a lock's name has at most ${LOCK_NAME_MAX} bytes after its slash, not ${length}`;
  throw IpcError.of("ENAMETOOLONG", "shm_open", name, detail);
}

export interface EpochSemaphores {
  readonly epoch: number;
  readonly queue: Semaphore;
  readonly room: Semaphore;
}

function named(name: string, epoch: number, what: "queue" | "room"): string {
  return `${name}.${epoch >>> 0}.${what}`;
}

/** Opens them, or null if one does not exist (the epoch has moved on, or somebody unlinked it). */
export function openEpoch(name: string, epoch: number): EpochSemaphores | null {
  const queue = openIfThere(named(name, epoch, "queue"));
  if (queue === null) return null;
  const room = openIfThere(named(name, epoch, "room"));
  if (room === null) {
    queue.close();
    return null;
  }
  return { epoch, queue, room };
}

/** Makes both anew, free (value 1). Caller holds the gate; nobody may know this epoch yet. */
export function createEpoch(name: string, epoch: number, mode: number): EpochSemaphores {
  const queue = createFresh(named(name, epoch, "queue"), mode);
  try {
    return { epoch, queue, room: createFresh(named(name, epoch, "room"), mode) };
  } catch (error) {
    queue.close();
    throw error;
  }
}

export function closeEpoch(semaphores: EpochSemaphores): void {
  semaphores.queue.close();
  semaphores.room.close();
}

/** Unlinks every epoch's semaphores of this lock but those of `keep`: also what a recoverer that died midway had made. */
export function sweepEpochs(name: string, keep?: number): void {
  const kept = keep === undefined ? "" : `${name}.${keep >>> 0}.`;
  for (const found of epochObjects(name)) {
    if (kept !== "" && found.startsWith(kept)) continue;
    ignoring("ENOENT", () => Semaphore.unlink(found));
  }
}

/** Names of all semaphores that belong to the lock `name`. sem_overview(7): Linux keeps "/x" as /dev/shm/sem.x. */
function epochObjects(name: string): string[] {
  const prefix = `sem.${name.slice(1)}.`;
  return readdirSync("/dev/shm")
    .filter((file) => file.startsWith(prefix) && /^\d+\.(queue|room)$/.test(file.slice(prefix.length)))
    .map((file) => `/${file.slice("sem.".length)}`);
}

function openIfThere(name: string): Semaphore | null {
  return ignoring("ENOENT", () => Semaphore.open(name));
}

function createFresh(name: string, mode: number): Semaphore {
  ignoring("ENOENT", () => Semaphore.unlink(name));
  const semaphore = Semaphore.create(name, { value: 1, mode });
  setExactMode(name, mode);
  return semaphore;
}

// sem_open(3) applies the umask; a lock shared with a group needs the mode it was given.
function setExactMode(name: string, mode: number): void {
  if ((mode & 0o077) === 0) return;
  const fd = native.shmOpen(`/sem.${name.slice(1)}`, constants.O_RDWR, 0);
  try {
    native.fchmod(fd, mode);
  } finally {
    native.closeFd(fd);
  }
}

function ignoring<T>(code: "ENOENT", action: () => T): T | null {
  try {
    return action();
  } catch (error) {
    if (isCode(error, code)) return null;
    throw error;
  }
}
