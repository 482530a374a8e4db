// The directory in shared memory, as the server's primary hosts it: it makes table and lock, repairs the table when a writer has
// died, removes the rows of dead workers, and removes everything at the end.
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
import { ShmDirectory } from "./shm-directory.ts";
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
  const opened: { close(): void }[] = [];
  try {
    const table = kept(opened, ClientTable.open(name));
    const lock = kept(opened, ReadersWriterLock.open(lockName, { repair: () => repair(table, log) }));
    const parts = { table, lock, writes: new WriteBatcher(lock), names: new NameLog(names, nameLimit, log) };
    return new ShmDirectory(parts, options);
  } catch (error) {
    for (const part of opened) part.close();
    throw error;
  }
}

function kept<T extends { close(): void }>(opened: { close(): void }[], part: T): T {
  opened.push(part);
  return part;
}

class ShmHost implements DirectoryHost {
  readonly config: DirectoryConfig;
  readonly #ownership: Ownership;
  readonly #table: ClientTable;
  readonly #lock: ReadersWriterLock;
  readonly #writes: WriteBatcher;
  readonly #reaper: OrphanReaper;

  constructor(ownership: Ownership, { capacity, mode, names, nameLimit, log, onEvents, onSettled }: HostOptions) {
    this.#ownership = ownership;
    const { table, lock } = ownership.names;
    this.config = { table, lock, names, nameLimit };
    this.#table = ClientTable.create(table, { capacity, mode });
    try {
      this.#lock = ReadersWriterLock.create(lock, { repair: () => repair(this.#table, log) });
    } catch (error) {
      this.#table.unlink();
      this.#table.close();
      throw error;
    }
    this.#writes = new WriteBatcher(this.#lock);
    this.#reaper = new OrphanReaper(this.#table, this.#writes, { onEvents, onSettled });
  }

  get count(): number {
    return this.#table.count;
  }
  get capacity(): number {
    return this.#table.capacity;
  }

  open(options: OpenOptions): ShmDirectory {
    const { table: name, names, nameLimit } = this.config;
    const table = ClientTable.open(name);
    try {
      // A process waits for the lock once at a time: its changes queue together with the reaper's.
      const shared = { writes: this.#writes, lock: null };
      return new ShmDirectory({ table, names: new NameLog(names, nameLimit, options.log), ...shared }, options);
    } catch (error) {
      table.close();
      throw error;
    }
  }

  observe(worker: number, events: readonly DirectoryEvent[]): void {
    this.#reaper.observe(worker, events);
  }

  workerDied(worker: number): void {
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
    this.#reaper.stop();
    // Another program, or systemd's RemoveIPC, may have removed them.
    ignoringMissing(() => this.#table.unlink());
    ignoringMissing(() => this.#lock.unlink());
    await this.#writes.idle();
    this.#lock.close();
    this.#table.close();
    this.#ownership.release();
  }
}

function repair(table: ClientTable, log: DirectoryLog): void {
  const { kept, discarded } = table.repair();
  log.warn("table repaired after a process died writing", { kept, discarded });
}
