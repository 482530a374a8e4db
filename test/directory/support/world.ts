// What the conformance suite runs in: a directory with several workers, of any implementation.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import type {
  Directory,
  DirectoryEvent,
  DirectoryHost,
  DirectoryLog,
  HostOptions,
} from "../../../lib/directory/directory.ts";
import { MemoryHost } from "../../../lib/directory/memory-directory.ts";
import { hostDirectory, prepareNames } from "../../../lib/directory/open.ts";
import { EventCarrier } from "./event-carrier.ts";
import { Random } from "./random.ts";
import { Engine, UncertainDirectory } from "./uncertain-directory.ts";

export interface WorldOptions {
  readonly capacity: number;
  readonly nameLimit: number;
  /** Of all that is random. */
  readonly seed: number;
}

export interface World {
  /** The directory of one more worker. What it publishes reaches the others late, each worker's events in order. */
  open(worker: number): Directory | Promise<Directory>;
  /** Resolves when nothing is under way any more. */
  settled(): Promise<void>;
  close(): Promise<void>;
}

export interface Implementation {
  readonly name: string;
  /**
   * Every directory reads the same memory: a change shows everywhere at once. Otherwise the others may show what was there before
   * for a moment, and lastLookupAt shows where it was noted.
   */
  readonly isLocal: boolean;
  make(options: WorldOptions): World | Promise<World>;
}

export const silent: DirectoryLog = { warn() {} };

/** Directories of one host in this process. */
export class HostWorld implements World {
  readonly #host: DirectoryHost;
  readonly #carrier: EventCarrier;
  readonly #directories: Directory[] = [];
  readonly #remove: () => void;

  constructor(host: DirectoryHost, seed: number, remove: () => void) {
    this.#host = host;
    this.#carrier = new EventCarrier(new Random(seed));
    this.#remove = remove;
  }

  open(worker: number): Directory {
    const directory = this.#host.open({
      log: silent,
      publish: (events) => {
        this.#host.observe(worker, events);
        this.#carrier.publish(worker, events);
      },
    });
    this.#carrier.add(worker, directory);
    this.#directories.push(directory);
    return directory;
  }

  /** Events of no worker. */
  announce(events: readonly DirectoryEvent[]): void {
    this.#carrier.publish(0, events);
  }

  settled(): Promise<void> {
    return this.#carrier.idle();
  }

  async close(): Promise<void> {
    for (const directory of this.#directories) directory.close();
    await this.#host.close();
    this.#remove();
  }
}

export const memory: Implementation = {
  name: "in memory",
  isLocal: true,
  make: (options) => new HostWorld(new MemoryHost(options), options.seed, () => {}),
};

export const sharedMemory: Implementation = {
  name: "in shared memory",
  isLocal: true,
  async make(options) {
    const { host, remove } = await makeShmHost(options);
    return new HostWorld(host, options.seed, remove);
  },
};

/** A host with real objects, on a port of its own. */
export async function makeShmHost(
  options: Pick<HostOptions, "capacity" | "nameLimit"> & Partial<HostOptions>,
): Promise<{ host: DirectoryHost; names: string; remove: () => void }> {
  const folder = mkdtempSync(join(tmpdir(), "ptalk-directory-"));
  const names = join(folder, "names");
  await prepareNames(names, silent);
  const host = hostOf(names, { log: silent, onEvents() {}, onSettled() {}, onRestored: async () => {}, ...options });
  return { host, names, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Its objects bear the port's name; no process listens there. */
const PORT = 1;

function hostOf(
  names: string,
  options: Omit<HostOptions, "names" | "mode" | "port" | "listener" | "predecessor">,
): DirectoryHost {
  return hostDirectory("shm", { port: PORT, listener: 0, predecessor: null, mode: 0o600, names, ...options });
}

/** An engine far away; see uncertain-directory.ts. */
class UncertainWorld implements World {
  readonly #engine: Engine;
  readonly #random: Random;
  readonly #directories: UncertainDirectory[] = [];

  constructor(options: WorldOptions) {
    this.#engine = new Engine(options);
    this.#random = new Random(options.seed);
  }

  open(): UncertainDirectory {
    const directory = new UncertainDirectory(this.#engine, this.#random);
    this.#directories.push(directory);
    return directory;
  }

  async settled(): Promise<void> {
    while (this.#directories.some(({ isIdle }) => !isIdle)) await nextTurn();
  }

  async close(): Promise<void> {
    await this.settled();
    for (const directory of this.#directories) {
      directory.close();
      unknownWrites.all += directory.unknown;
      unknownWrites.made += directory.unknownButMade;
    }
  }
}

/** Of all worlds that are closed: how many writes ended as unknown, and how many of those had changed the engine. */
export const unknownWrites = { all: 0, made: 0 };

export const uncertain: Implementation = {
  name: "far away",
  isLocal: false,
  make: (options) => new UncertainWorld(options),
};
