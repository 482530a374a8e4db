// The two semaphores of one epoch: "/name.E.queue" (service queue: whoever wants in holds it while entering) and "/name.E.room"
// (held by the writer, or by the readers together). Once the epoch moves on they are garbage, whatever their values.

import { randomInt } from "node:crypto";
import { constants } from "node:fs";
import { native } from "../../native.ts";
import { IpcError, isCode } from "../error.ts";
import { Semaphore } from "../semaphore.ts";

/** A lock's name, in bytes after its slash: a semaphore's (251) less the longest suffix, ".4294967294.queue". */
const LOCK_NAME_MAX = 251 - 17;
/** How many even numbers a random epoch is drawn from. */
const RANDOM_EPOCHS = 2 ** 27;
/** How many epochs may be found squatted, by another user's objects that cannot be unlinked, before that is an error. */
const MAX_ATTEMPTS = 16;

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

/** An even number drawn at random: objects that bear one name in turn share no semaphore's name, and nobody can be there first. */
export function randomEpoch(): number {
  return 2 * randomInt(RANDOM_EPOCHS);
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

/**
 * Makes both semaphores of `epoch` anew, free (value 1), or, where someone else's object is in the way, of the epoch that
 * `another` gives. Returns the epoch. Caller holds the gate; nobody may know these epochs yet.
 */
export function createEpoch(name: string, first: number, mode: number, another: () => number): number {
  let epoch = first;
  for (let attempt = 1; ; attempt++) {
    try {
      createFresh(named(name, epoch, "queue"), mode);
      createFresh(named(name, epoch, "room"), mode);
      return epoch;
    } catch (error) {
      if (!isCode(error, "EEXIST") || attempt === MAX_ATTEMPTS) throw error;
      epoch = another();
    }
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
    unlinkIfPossible(found);
  }
}

/** Names of all semaphores that belong to the lock `name`. */
function epochObjects(name: string): string[] {
  const prefix = `${name}.`;
  return Semaphore.list(prefix).filter((found) => /^\d+\.(queue|room)$/.test(found.slice(prefix.length)));
}

function openIfThere(name: string): Semaphore | null {
  try {
    return Semaphore.open(name);
  } catch (error) {
    if (isCode(error, "ENOENT")) return null;
    throw error;
  }
}

function createFresh(name: string, mode: number): void {
  unlinkIfPossible(name);
  Semaphore.create(name, { value: 1, mode }).close();
  setExactMode(name, mode);
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

// In the sticky /dev/shm another user's object stays: in a lock that several users share, or put there to be in the way.
function unlinkIfPossible(name: string): void {
  try {
    Semaphore.unlink(name);
  } catch (error) {
    if (!isCode(error, "ENOENT") && !isCode(error, "EACCES") && !isCode(error, "EPERM")) throw error;
  }
}
