// Names that are held for their holders at a server that has died, until they have reached its successor: all in the
// dead server's table. A client of the dead server names that table to the successor, which reads no table that others
// plant.
import { closeSync, constants, fstatSync, openSync } from "node:fs";
import type { DirectoryConfig } from "../directory.ts";
import { isServerAlive, ownerInName } from "../live-server.ts";
import { NO_SLOT, TableReader } from "./table-reader.ts";
import { openTableSegment, type TableSegment } from "./table-segment.ts";

export class HeldNames {
  readonly #until: number;
  #segment: TableSegment | null;
  readonly #reader: TableReader;

  private constructor(segment: TableSegment, name: string, until: number) {
    this.#segment = segment;
    this.#reader = new TableReader(segment.words, segment.geometry, name);
    this.#until = until;
  }

  /** Null where nothing is held: there was no server before, its table is gone, or cannot be read. */
  static of({ predecessor }: Pick<DirectoryConfig, "predecessor">): HeldNames | null {
    if (predecessor === null || Date.now() >= predecessor.heldUntil || !isTableOf(predecessor.name)) return null;
    try {
      return new HeldNames(openTableSegment(predecessor.name, true), predecessor.name, predecessor.heldUntil);
    } catch {
      return null;
    }
  }

  /** The key that has the name, while it is held. */
  keyOf(folded: string): string | undefined {
    if (this.#segment === null) return undefined;
    if (Date.now() >= this.#until) {
      this.close();
      return undefined;
    }
    try {
      const slot = this.#reader.find(folded, false);
      return slot === NO_SLOT ? undefined : this.#reader.snapshot.entry().key;
    } catch {
      return undefined; // its owner scribbles over it: nothing of it can be believed
    }
  }

  close(): void {
    this.#segment?.shm.close();
    this.#segment = null;
  }
}

/** A regular file of the user in its name that no server of that user uses any more. */
function isTableOf(name: string): boolean {
  const uid = ownerInName(name);
  if (uid === null) return false;
  try {
    const fd = openSync(`/dev/shm${name}`, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const status = fstatSync(fd);
      return status.isFile() && status.nlink === 1 && status.uid === uid && !isServerAlive(name);
    } finally {
      closeSync(fd);
    }
  } catch {
    return false;
  }
}
