// The directory in shared memory, as the server's primary hosts it: it makes table and lock, repairs the table when a writer has
// died, removes the rows of dead workers, makes the objects again when another program has removed them, and removes everything at
// the end.
import { objectBehind } from "../../ipc/dev-shm.ts";
import { ReadersWriterLock } from "../../ipc/readers-writers-lock.ts";
import type {
  DirectoryConfig,
  DirectoryEvent,
  DirectoryHost,
  DirectoryLog,
  HostOptions,
  HostReservation,
  OpenOptions,
} from "../directory.ts";
import { ClientTable } from "./client-table.ts";
import { NameLog } from "./name-log.ts";
import { OrphanReaper } from "./orphan-reaper.ts";
import { ignoringMissing, Ownership } from "./server-objects.ts";
import { type SharedObjects, ShmDirectory } from "./shm-directory.ts";
import { OBJECTS_CHECK_MS } from "./shm-limits.ts";
import { WriteBatcher } from "./write-batcher.ts";

/** @throws TalkError unreachable, naming the pid of the server that lives; refused if the objects are another user's */
export function reserveShm(port: number, log: DirectoryLog): HostReservation {
  const ownership = Ownership.claim(port);
  try {
    if (ownership.discardRemains()) log.warn("removed what a killed server left", { port });
  } catch (error) {
    ownership.release();
    throw error;
  }
  return {
    create: (options) => new ShmHost(ownership, options),
    release: () => ownership.release(),
  };
}

/** For a worker process. @throws IpcError, TalkError: the objects are gone, or of another version; the system's error for the log */
export function openShm(
  { table: name, lock: lockName, names, nameLimit }: DirectoryConfig,
  options: OpenOptions,
): ShmDirectory {
  const { log } = options;
  const open = () => openObjects(name, lockName, log);
  const { table, lock } = open();
  try {
    const parts = { table, lock, writes: new WriteBatcher(lock), names: new NameLog(names, nameLimit, log), open };
    return new ShmDirectory(parts, options);
  } catch (error) {
    table.close();
    lock.close();
    throw error;
  }
}

function openObjects(name: string, lockName: string, log: DirectoryLog): SharedObjects & { lock: ReadersWriterLock } {
  const table = ClientTable.open(name);
  try {
    return { table, lock: ReadersWriterLock.open(lockName, { repair: () => repair(table, log) }) };
  } catch (error) {
    table.close();
    throw error;
  }
}

class ShmHost implements DirectoryHost {
  readonly config: DirectoryConfig;
  readonly #ownership: Ownership;
  readonly #options: HostOptions;
  #table: ClientTable;
  #lock: ReadersWriterLock;
  readonly #writes: WriteBatcher;
  readonly #reaper: OrphanReaper;
  readonly #checkTimer: NodeJS.Timeout;
  /** The objects that had the names when they were made. */
  #named: string;
  #restoring: Promise<void> | null = null;
  #restoreFailure = "";
  #isClosed = false;

  constructor(ownership: Ownership, options: HostOptions) {
    const { capacity, mode, names, nameLimit, onEvents, onSettled } = options;
    this.#ownership = ownership;
    this.#options = options;
    const { table, lock } = ownership.names;
    this.config = { table, lock, names, nameLimit };
    this.#table = ClientTable.create(table, { capacity, mode });
    try {
      this.#lock = this.#createLock(this.#table);
    } catch (error) {
      this.#table.unlink();
      this.#table.close();
      throw error;
    }
    this.#named = this.#objectsNamed();
    this.#writes = new WriteBatcher(this.#lock);
    this.#reaper = new OrphanReaper(this.#table, this.#writes, { onEvents, onSettled });
    this.#checkTimer = setInterval(() => this.#checkObjects(), OBJECTS_CHECK_MS).unref();
  }

  get count(): number {
    return this.#table.count;
  }
  get capacity(): number {
    return this.#table.capacity;
  }

  open(options: OpenOptions): ShmDirectory {
    const { table: name, names, nameLimit } = this.config;
    // A process waits for the lock once at a time: its changes queue together with the reaper's.
    const open = (): SharedObjects => ({ table: ClientTable.open(name), lock: null });
    const { table } = open();
    try {
      const log = new NameLog(names, nameLimit, options.log);
      return new ShmDirectory({ table, lock: null, writes: this.#writes, names: log, open }, options);
    } catch (error) {
      table.close();
      throw error;
    }
  }

  observe(worker: number, events: readonly DirectoryEvent[]): void {
    this.#reaper.observe(worker, events);
  }

  workerDied(worker: number): void {
    this.#checkObjects(); // the worker that takes its place opens them by name
    this.#reaper.workerDied(worker);
  }

  stats(): Readonly<Record<string, number>> {
    const { acquisitions, waits, recoveries, epoch } = this.#lock.stats();
    return {
      lock_reads: acquisitions.read,
      lock_writes: acquisitions.write,
      lock_waits: waits,
      lock_recoveries: recoveries,
      lock_epoch: epoch,
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#checkTimer);
    this.#reaper.stop();
    await this.#restoring;
    // Another program, or systemd's RemoveIPC, may have removed them.
    ignoringMissing(() => this.#table.unlink());
    ignoringMissing(() => this.#lock.unlink());
    await this.#writes.idle();
    this.#lock.close();
    this.#table.close();
    this.#ownership.release();
  }

  /** systemd-logind removes a user's objects at the last logout (logind.conf(5), RemoveIPC), under servers that go on. */
  #checkObjects(): void {
    if (this.#restoring !== null || this.#isClosed) return;
    if (!this.#ownership.isMoved && this.#named === this.#objectsNamed()) return;
    this.#restoring = this.#restore()
      .then(() => {
        this.#restoreFailure = "";
        this.#options.log.warn("made the objects in shared memory again: another program had removed them");
      })
      .catch((error: Error) => {
        // Every second again; one line each time would fill the log.
        if (error.message !== this.#restoreFailure) this.#options.log.warn("shared objects are gone", { error });
        this.#restoreFailure = error.message;
      })
      .finally(() => {
        this.#restoring = null;
      });
  }

  /**
   * New objects under the old names, with what the old ones hold. The old lock is held until every worker has changed over, so that
   * no change is made to the old table behind the copy.
   */
  async #restore(): Promise<void> {
    const [oldTable, oldLock] = [this.#table, this.#lock];
    await this.#writes.runAlone(async () => {
      this.#ownership.renew();
      this.#ownership.discardRemains();
      const table = oldTable.recreate(this.#options.mode);
      let lock: ReadersWriterLock;
      try {
        lock = this.#createLock(table);
      } catch (error) {
        table.unlink();
        table.close();
        throw error;
      }
      this.#table = table;
      this.#lock = lock;
      this.#named = this.#objectsNamed();
      this.#reaper.moveTo(table);
      void this.#writes.moveTo(lock);
      await this.#options.onRestored();
    });
    oldTable.retire();
    oldTable.close();
    oldLock.close();
  }

  #objectsNamed(): string {
    const { table, lock } = this.#ownership.names;
    return `${objectBehind(table)} ${objectBehind(lock)}`;
  }

  #createLock(table: ClientTable): ReadersWriterLock {
    const { log } = this.#options;
    return ReadersWriterLock.create(this.#ownership.names.lock, { repair: () => repair(table, log) });
  }
}

function repair(table: ClientTable, log: DirectoryLog): void {
  const { kept, discarded } = table.repair();
  log.warn("table repaired after a process died writing", { kept, discarded });
}
