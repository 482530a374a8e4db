// The directory in shared memory, as the server's primary hosts it: it makes table and lock, repairs the table when a writer has
// died, removes the rows of dead workers, makes the objects again when another program has removed them, and removes everything at
// the end.
import { ReadersWriterLock } from "../../ipc/readers-writers-lock.ts";
import type {
  DirectoryConfig,
  DirectoryEvent,
  DirectoryHost,
  DirectoryLog,
  HostOptions,
  OpenOptions,
} from "../directory.ts";
import { lockName, removeDeadServers } from "../live-server.ts";
import { ClientTable } from "./client-table.ts";
import { HeldNames } from "./held-names.ts";
import { NameLog } from "./name-log.ts";
import { OrphanReaper } from "./orphan-reaper.ts";
import { ServerObjects } from "./server-objects.ts";
import { type SharedObjects, ShmDirectory } from "./shm-directory.ts";
import { OBJECTS_CHECK_MS } from "./shm-limits.ts";
import { WriteBatcher } from "./write-batcher.ts";

/** @throws IpcError ENOSPC, EACCES; the system's error for the file of names */
export function hostShm(options: ShmHostOptions): ShmHost {
  const { port, predecessor, log } = options;
  // Workers look up in the predecessor's table who held which name. Servers of other ports may have clients that wait for
  // a successor: their remains are for the user's commands, which see those clients (presence/remains.ts).
  if (removeDeadServers((of, name) => of !== port || name === predecessor?.name).includes(port)) {
    log.warn("removed what a killed server left", { port });
  }
  return new ShmHost(options);
}

/** For a worker process. @throws IpcError, TalkError: the objects are gone, or of another version; the system's error for the log */
export function openShm(config: DirectoryConfig, options: OpenOptions): ShmDirectory {
  const { log } = options;
  const open = (at: DirectoryConfig) => openObjects(at, log);
  const { table, lock } = open(config);
  try {
    const names = new NameLog(config.names, config.nameLimit, log);
    const parts = { table, lock, writes: new WriteBatcher(lock), names, held: HeldNames.of(config), open };
    return new ShmDirectory(parts, options);
  } catch (error) {
    table.close();
    lock.close();
    throw error;
  }
}

function openObjects(
  { table: name, lock }: DirectoryConfig,
  log: DirectoryLog,
): SharedObjects & { lock: ReadersWriterLock } {
  const table = ClientTable.open(name);
  try {
    return { table, lock: ReadersWriterLock.open(lock, { repair: () => repair(table, log) }) };
  } catch (error) {
    table.close();
    throw error;
  }
}

export interface ShmHostOptions extends HostOptions {
  /** See ReaperEvents. */
  readonly removeOrphans?: (worker: number) => Promise<void>;
}

export class ShmHost implements DirectoryHost {
  readonly #options: HostOptions;
  #objects: ServerObjects;
  readonly #writes: WriteBatcher;
  readonly #reaper: OrphanReaper;
  readonly #checkTimer: NodeJS.Timeout;
  #restoring: Promise<void> | null = null;
  #restoreFailure = "";
  #isClosed = false;

  constructor(options: ShmHostOptions) {
    const { capacity, listener, onEvents, onSettled, removeOrphans: remove } = options;
    this.#options = options;
    this.#objects = this.#create((name, mode) => ClientTable.create(name, { capacity, mode, listener }), null);
    this.#writes = new WriteBatcher(this.#objects.lock);
    this.#reaper = new OrphanReaper(this.#objects.table, this.#writes, { onEvents, onSettled, remove });
    this.#checkTimer = setInterval(() => this.#checkObjects(), OBJECTS_CHECK_MS).unref();
  }

  get config(): DirectoryConfig {
    const { table, names } = this.#objects;
    const { nameLimit, predecessor } = this.#options;
    return { table: table.name, lock: lockName(table.name), names, nameLimit, predecessor };
  }

  get count(): number {
    return this.#objects.table.count;
  }
  get capacity(): number {
    return this.#objects.table.capacity;
  }

  open(options: OpenOptions): ShmDirectory {
    const { config } = this;
    // A process waits for the lock once at a time: its changes queue together with the reaper's.
    const open = (at: DirectoryConfig): SharedObjects => ({ table: ClientTable.open(at.table), lock: null });
    const { table } = open(config);
    try {
      const names = new NameLog(config.names, config.nameLimit, options.log);
      const parts = { table, lock: null, writes: this.#writes, names, held: HeldNames.of(config), open };
      return new ShmDirectory(parts, options);
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
    const { acquisitions, waits, recoveries, epoch } = this.#objects.lock.stats();
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
    this.#objects.unlink();
    await this.#writes.idle();
    this.#objects.close();
  }

  #checkObjects(): void {
    if (this.#restoring !== null || this.#isClosed || !this.#objects.isGone) return;
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
   * New objects under new names, with what the old ones hold. The old lock is held until every worker has changed over, so that no
   * change is made to the old table behind the copy.
   */
  async #restore(): Promise<void> {
    const old = this.#objects;
    await this.#writes.runAlone(async () => {
      const copy = (name: string, mode: number) => old.table.copy(name, mode);
      this.#objects = this.#create(copy, old.knownNames());
      this.#reaper.moveTo(this.#objects.table);
      void this.#writes.moveTo(this.#objects.lock);
      await this.#options.onRestored();
    });
    old.unlink(); // what is left of them
    old.close();
  }

  #create(table: (name: string, mode: number) => ClientTable, knownNames: Buffer | null): ServerObjects {
    const { port, mode, names, log } = this.#options;
    return ServerObjects.create(port, { table, mode, names, knownNames, repair: (broken) => repair(broken, log) });
  }
}

function repair(table: ClientTable, log: DirectoryLog): void {
  const { kept, discarded } = table.repair();
  log.warn("table repaired after a process died writing", { kept, discarded });
}
