// The server's objects in shared memory: which server may make them, and that they are removed.
//
//     /ptalk-server-PORT         the table
//     /ptalk-server-PORT.lock    its lock (and the lock's semaphores)
//     /ptalk-server-PORT.owner   says that a server is alive, and its pid
//
// The kernel holds the owner's lock on the last one for as long as the primary lives. So a killed server is told apart from a
// live one without trusting a pid. Only the holder of that lock removes and makes the other two.

import { TalkError } from "../../base/errors.ts";
import { IpcError } from "../../ipc/index.ts";
import { LivenessLocks } from "../../ipc/liveness-locks.ts";
import { ReadersWriterLock } from "../../ipc/readers-writers-lock.ts";
import { Semaphore } from "../../ipc/semaphore.ts";
import { fdOf, SharedMemory } from "../../ipc/shared-memory.ts";
import { ClientTable } from "./client-table.ts";
import { lockNameOf } from "./table-segment.ts";

export interface ObjectNames {
  readonly table: string;
  readonly lock: string;
  readonly owner: string;
}

export function objectNames(port: number): ObjectNames {
  const table = `/ptalk-server-${port}`;
  return { table, lock: lockNameOf(table), owner: `${table}.owner` };
}

const OWNER_BYTES = 64;
const OWNER_SEAT = 0;
const OWNER_MODE = 0o600; // a process that can read it could hold a lock on it
/** Attempts at the owner's object; each failure means that another server was just taking it away. */
const MAX_CLAIMS = 100;

/** The process that has this is the server of that port. */
export class Ownership {
  readonly names: ObjectNames;
  readonly #port: number;
  #shm: SharedMemory;

  private constructor(names: ObjectNames, port: number, shm: SharedMemory) {
    this.names = names;
    this.#port = port;
    this.#shm = shm;
  }

  /** @throws TalkError unreachable, naming the pid of the server that lives; refused if the objects are another user's */
  static claim(port: number): Ownership {
    const names = objectNames(port);
    return new Ownership(names, port, Ownership.#claim(names, port));
  }

  static #claim(names: ObjectNames, port: number): SharedMemory {
    for (let attempt = 0; attempt < MAX_CLAIMS; attempt++) {
      const shm = openOwner(names);
      const roster = new LivenessLocks(fdOf(shm), 1);
      if (!roster.tryClaim(OWNER_SEAT)) {
        const pid = pidIn(shm);
        shm.close();
        const cause = IpcError.of("EBUSY", "fcntl", names.owner);
        const message = `a lookup server (pid ${pid ?? "unknown"}) is serving port ${port} already`;
        throw new TalkError("unreachable", message, { cause });
      }
      if (roster.isNamed(names.owner)) {
        new DataView(shm.buffer).setInt32(0, process.pid, true);
        return shm;
      }
      shm.close(); // its owner unlinked it between our open and our lock
    }
    throw TalkError.internal(`${names.owner} kept disappearing`);
  }

  /** Another program has removed the object's name, or has put an object of its own there. */
  get isMoved(): boolean {
    return !new LivenessLocks(fdOf(this.#shm), 1).isNamed(this.names.owner);
  }

  /** Makes the object again if it is gone. @throws as claim() */
  renew(): void {
    if (!this.isMoved) return;
    const old = this.#shm;
    this.#shm = Ownership.#claim(this.names, this.#port);
    old.close();
  }

  /** Removes what a killed server has left. @returns whether there was anything */
  discardRemains(): boolean {
    const { table, lock } = this.names;
    let found = ClientTable.discard(table);
    found = ignoringMissing(() => ReadersWriterLock.unlink(lock)) || found;
    for (const name of Semaphore.list(`${lock}.`)) ignoringMissing(() => Semaphore.unlink(name));
    return found;
  }

  release(): void {
    // In this order: a process that opens it now finds that it has no name any more, and starts over.
    ignoringMissing(() => this.#shm.unlink());
    this.#shm.close();
  }
}

/** Pid of the server that is alive on this port; null if none is. */
export function livingOwner(port: number): number | null {
  try {
    using shm = SharedMemory.open(objectNames(port).owner);
    return new LivenessLocks(fdOf(shm), 1).isHeld(OWNER_SEAT) ? pidIn(shm) : null;
  } catch (error) {
    if (error instanceof IpcError) return null; // there is none, or another user's, whose pid cannot be read
    throw error;
  }
}

function openOwner({ owner, table }: ObjectNames): SharedMemory {
  try {
    return SharedMemory.openOrCreate(owner, { size: OWNER_BYTES, mode: OWNER_MODE });
  } catch (error) {
    if (error instanceof IpcError && error.code === "EACCES") {
      throw TalkError.refused(`${table} in shared memory belongs to another user: choose another port`, error);
    }
    throw error;
  }
}

function pidIn(shm: SharedMemory): number | null {
  const pid = new DataView(shm.read(0, 4).slice().buffer).getInt32(0, true);
  return pid > 0 ? pid : null;
}

/** @returns false if the object that was to be removed is not there */
export function ignoringMissing(remove: () => void): boolean {
  try {
    remove();
    return true;
  } catch (error) {
    if (error instanceof IpcError && error.code === "ENOENT") return false;
    throw error;
  }
}
