// The directory in shared memory, as the server's primary hosts it: it makes table and lock, repairs the table when a writer has
// died, removes the rows of dead workers, and takes everything away at the end.
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
import { Ownership } from "./server-objects.ts";
import { ShmDirectory } from "./shm-directory.ts";
import { WriteBatcher } from "./write-batcher.ts";

/** @throws TalkError unreachable, naming the pid of the server that lives; refused if the objects are another user's */
export function reserveShm(port: number, log: DirectoryLog): HostReservation {
  const ownership = Ownership.claim(port);
  if (ownership.discardRemains()) log.warn("removed what a killed server left", { port });
  return {
    create: (options) => new ShmHost(ownership, options),
    release: () => ownership.release(),
  };
}

/** For a worker process. @throws IpcError, TalkError: the objects are gone, or of another version */
export function openShm(
  { table: name, lock: lockName, names, nameLimit }: DirectoryConfig,
  options: OpenOptions,
): ShmDirectory {
  const { log } = options;
  const table = ClientTable.open(name);
  const lock = ReadersWriterLock.open(lockName, { repair: () => repair(table, log) });
  return new ShmDirectory(
    { table, lock, writes: new WriteBatcher(lock), names: new NameLog(names, nameLimit, log) },
    options,
  );
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
    const { table, names, nameLimit } = this.config;
    const parts = {
      table: ClientTable.open(table),
      // A process waits for the lock once at a time: its changes queue together with the reaper's.
      writes: this.#writes,
      lock: null,
      names: new NameLog(names, nameLimit, options.log),
    };
    return new ShmDirectory(parts, options);
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
    this.#table.unlink();
    this.#lock.unlink();
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
