// `Directory` of the package: any program reads the entries of a server on this host, without asking the server.

import { MAX_PORT } from "../../base/endpoint.ts";
import { TalkError } from "../../base/errors.ts";
import { foldName } from "../../base/names.ts";
import type { SharedMemory } from "../../ipc/shared-memory.ts";
import { isLaterVersion } from "../claim-rules.ts";
import type { DirectoryEntry } from "../entry.ts";
import { TableError } from "./table-error.ts";
import { HEADER, READY } from "./table-layout.ts";
import { NO_SLOT, TableReader } from "./table-reader.ts";
import { openTableSegment, serverTableName } from "./table-segment.ts";

/**
 * A lookup server's table, mapped read-only. `lookup` and `all` read memory and make no system call. They take no lock, so a
 * reader never holds up the server, and they never show half a record. Make control characters in texts visible before you print
 * them: any process with the server's user id can write to this memory.
 *
 * A server that shuts down marks its table: from then on `stale` is true, and the table has no entries. Open a new Directory for
 * the server's successor. (A server that SIGKILL ended marks nothing; its successor does, when it removes the remains.)
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
   * another version (both are named), `unreachable` if it is not ready within a second or was closed, `usage` for the options
   */
  static open(options: { readonly port: number }): MappedDirectory {
    checkOptions(options);
    return new MappedDirectory(serverTableName(options.port));
  }

  /** True once the server has shut down, or another has replaced it. The table has no entries then. */
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

  /** All clients that want to be listed, in no particular order. Throws as {@link lookup}. */
  all(): DirectoryEntry[] {
    if (this.#closed) throw TableError.closed(this.#shm.name);
    const before = Atomics.load(this.#words, HEADER.lastVersion);
    const entries: DirectoryEntry[] = [];
    const versions: number[] = [];
    const used = this.#reader.usedSlots;
    for (let slot = 0; slot < used; slot++) {
      if (!this.#reader.readSlot(slot, false)) continue;
      const entry = this.#reader.snapshot.entry();
      if (!entry.listed) continue;
      entries.push(entry);
      versions.push(this.#reader.snapshot.version);
    }
    if (this.stale) return [];
    // A client that left and came back meanwhile may be there from two slots. That takes a new version.
    const isSteady = Atomics.load(this.#words, HEADER.lastVersion) === before;
    return isSteady ? entries : latestOfEach(entries, versions);
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

function checkOptions(options: unknown): void {
  if (typeof options !== "object" || options === null) throw misuse("options", "an object");
  for (const [key, value] of Object.entries(options)) {
    if (key !== "port") throw misuse(key, "left out: it takes port");
    if (!Number.isInteger(value) || value < 1 || value > MAX_PORT) throw misuse(key, `a number from 1 to ${MAX_PORT}`);
  }
  if (!("port" in options)) throw misuse("port", `a number from 1 to ${MAX_PORT}`);
}

function misuse(subject: string, rule: string): TalkError {
  return new TalkError("usage", `Directory.open(): ${subject} must be ${rule}`, { subject });
}

function latestOfEach(entries: readonly DirectoryEntry[], versions: readonly number[]): DirectoryEntry[] {
  const byName = new Map<string, { readonly entry: DirectoryEntry; readonly version: number }>();
  for (const [i, entry] of entries.entries()) {
    const version = versions[i] as number;
    const name = foldName(entry.name);
    const other = byName.get(name);
    if (other === undefined || isLaterVersion(version, other.version)) byName.set(name, { entry, version });
  }
  return [...byName.values()].map(({ entry }) => entry);
}
