// `Directory` of the package: the entries of a server on this host, for any program, without asking the server.

import { foldName } from "../../base/names.ts";
import type { SharedMemory } from "../../ipc/shared-memory.ts";
import type { DirectoryEntry } from "../entry.ts";
import { TableError } from "./table-error.ts";
import { HEADER, READY } from "./table-layout.ts";
import { NO_SLOT, TableReader } from "./table-reader.ts";
import { openTableSegment, serverTableName } from "./table-segment.ts";

/**
 * A lookup server's table, mapped read-only. `lookup` and `all` read memory and make no system call; they take no lock, so no
 * reader ever holds up the server, and they never show half a record. Texts are the clients' own: make control characters
 * visible before printing them, the memory may have been written by anybody with the server's user id.
 *
 * A server that shuts down marks its table: from then on `stale` is true and nobody is found. Open a new Directory for its
 * successor. (A server killed with SIGKILL cannot mark anything: its successor does, when it takes the remains away.)
 */
export class MappedDirectory implements Disposable {
  /** Clients that the table has room for. */
  readonly capacity: number;
  readonly #shm: SharedMemory;
  readonly #words: Int32Array;
  readonly #reader: TableReader;
  #closed = false;

  private constructor(name: string) {
    const { shm, words, geometry } = openTableSegment(name, true);
    this.capacity = geometry.capacity;
    this.#shm = shm;
    this.#words = words;
    this.#reader = new TableReader(words, geometry, name);
  }

  /**
   * Maps the table of the server on this port of this host.
   * @throws IpcError ENOENT if there is none, EACCES if its `--table-mode` excludes this user; TalkError `protocol` for a table of
   * another version (both are named), `unreachable` if it is not ready within a second or was closed; RangeError for the port
   */
  static open({ port }: { readonly port: number }): MappedDirectory {
    return new MappedDirectory(serverTableName(port));
  }

  /** True once the server has shut down, or was replaced by another: nobody is found any more. */
  get stale(): boolean {
    return this.#closed || Atomics.load(this.#words, HEADER.ready) !== READY.open;
  }

  /**
   * One client by name (case and Unicode compatibility forms do not matter), or null.
   * @throws TalkError `closed` after close; `internal` if the table kept changing, which only a hostile writer manages
   */
  lookup(name: string): DirectoryEntry | null {
    if (this.#closed) throw TableError.closed(this.#shm.name);
    const slot = this.#reader.find(name, false);
    if (slot === NO_SLOT || this.stale) return null;
    return this.#reader.snapshot.entry();
  }

  /** Everybody, in no particular order. Throws as {@link lookup}. */
  all(): DirectoryEntry[] {
    if (this.#closed) throw TableError.closed(this.#shm.name);
    const before = Atomics.load(this.#words, HEADER.lastVersion);
    const entries: DirectoryEntry[] = [];
    const used = this.#reader.usedSlots;
    for (let slot = 0; slot < used; slot++) {
      if (this.#reader.readSlot(slot, false)) entries.push(this.#reader.snapshot.entry());
    }
    if (this.stale) return [];
    // Who left and came back meanwhile may have been met in two slots. Nobody came: nobody can have been.
    return Atomics.load(this.#words, HEADER.lastVersion) === before ? entries : latestOfEach(entries);
  }

  /** Unmaps the table. */
  close(): void {
    this.#closed = true;
    this.#shm.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function latestOfEach(entries: DirectoryEntry[]): DirectoryEntry[] {
  const byName = new Map<string, DirectoryEntry>();
  for (const entry of entries) {
    const name = foldName(entry.name);
    const other = byName.get(name);
    if (other === undefined || other.startedAt <= entry.startedAt) byName.set(name, entry);
  }
  return [...byName.values()];
}
