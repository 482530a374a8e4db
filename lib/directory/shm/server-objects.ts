// The objects of one server in shared memory, made under names that no server has had, see live-server.ts. In this order:
//   1. the table, for this user alone; 2. the server's lock on it; 3. the lock of the writers, and the file of names where the server
//   keeps no other; 4. the table is opened to others. From 2. on no process takes the objects for a dead server's.
import { closeSync, constants, fstatSync, openSync, readSync, rmSync, writeFileSync } from "node:fs";
import { TalkError } from "../../base/errors.ts";
import { objectBehind } from "../../ipc/dev-shm.ts";
import { IpcError } from "../../ipc/index.ts";
import { ReadersWriterLock } from "../../ipc/readers-writers-lock.ts";
import { lockName, namesFile, newServerName, PRIVATE_MODE } from "../live-server.ts";
import type { ClientTable } from "./client-table.ts";
import { NAME_LOG_HEADER } from "./name-log.ts";

/** Tables made in vain, each because another process took it for a dead server's before it was locked. */
const MAX_ATTEMPTS = 100;

export interface NewObjects {
  /** Makes the table under that name. */
  readonly table: (name: string, mode: number) => ClientTable;
  /** Permission bits of the table, once it is ready. */
  readonly mode: number;
  /** The file of names; null: it is one of the objects. */
  readonly names: string | null;
  /** What the file of names begins with, where it is one of the objects. */
  readonly knownNames: Buffer | null;
  /** Makes the table whole after a writer died. */
  readonly repair: (table: ClientTable) => void;
}

export class ServerObjects {
  readonly table: ClientTable;
  readonly lock: ReadersWriterLock;
  /** The file of names. */
  readonly names: string;
  readonly #namesFd: number | null;
  /** What had the lock's name when it was made. */
  readonly #lockBehind: string;

  private constructor(table: ClientTable, lock: ReadersWriterLock, names: string, namesFd: number | null) {
    this.table = table;
    this.lock = lock;
    this.names = names;
    this.#namesFd = namesFd;
    this.#lockBehind = objectBehind(lock.name);
  }

  /** @throws IpcError ENOSPC, EACCES; the system's error for the file of names; nothing is left then */
  static create(port: number, wanted: NewObjects): ServerObjects {
    const table = claimedTable(port, wanted);
    const undo: (() => void)[] = [() => table.close(), () => ignoringMissing(() => table.unlink())];
    try {
      const lock = ReadersWriterLock.create(lockName(table.name), { repair: () => wanted.repair(table) });
      undo.push(
        () => lock.close(),
        () => ignoringMissing(() => lock.unlink()),
      );
      const own = wanted.names === null ? createNames(namesFile(table.name), wanted.knownNames) : null;
      if (own !== null) undo.push(() => removeNames(table.name, own));
      const objects = new ServerObjects(table, lock, wanted.names ?? namesFile(table.name), own);
      table.openTo(wanted.mode);
      return objects;
    } catch (error) {
      for (const step of undo.reverse()) step();
      throw error;
    }
  }

  /** Another program has removed one of them, as systemd-logind does at a user's last logout (logind.conf(5), RemoveIPC). */
  get isGone(): boolean {
    if (!this.table.isLinked || objectBehind(this.lock.name) !== this.#lockBehind) return true;
    return this.#namesFd !== null && fstatSync(this.#namesFd).nlink === 0;
  }

  /** What the file of names holds, also when its name is gone; null where it is none of the objects. */
  knownNames(): Buffer | null {
    if (this.#namesFd === null) return null;
    const bytes = Buffer.alloc(fstatSync(this.#namesFd).size);
    return bytes.subarray(0, readSync(this.#namesFd, bytes, 0, bytes.length, 0));
  }

  /** Removes the names. The objects are open until close(). */
  unlink(): void {
    if (this.#namesFd !== null) rmSync(namesFile(this.table.name), { force: true });
    ignoringMissing(() => this.lock.unlink());
    ignoringMissing(() => this.table.unlink()); // last: the server's lock on it keeps everybody off the others
  }

  close(): void {
    this.lock.close();
    this.table.close();
    if (this.#namesFd !== null) closeSync(this.#namesFd);
  }
}

function claimedTable(port: number, { table: make }: NewObjects): ClientTable {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const table = make(newServerName(port), PRIVATE_MODE);
    if (table.claim()) return table;
    table.close();
  }
  throw TalkError.internal(`the objects of a new server on port ${port} kept disappearing`);
}

function createNames(path: string, known: Buffer | null): number {
  const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const fd = openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, PRIVATE_MODE);
  try {
    writeFileSync(fd, known ?? NAME_LOG_HEADER);
    return fd;
  } catch (error) {
    closeSync(fd);
    rmSync(path, { force: true });
    throw error;
  }
}

function removeNames(server: string, fd: number): void {
  closeSync(fd);
  rmSync(namesFile(server), { force: true });
}

function ignoringMissing(remove: () => void): void {
  try {
    remove();
  } catch (error) {
    if (!(error instanceof IpcError && error.code === "ENOENT")) throw error;
  }
}
