// `Directory` of the package: any program reads the entries of a server on this host, without asking the server.

import { fstatSync } from "node:fs";
import { isIP } from "node:net";
import { canonicalAddress, MAX_PORT } from "../../base/endpoint.ts";
import { TalkError } from "../../base/errors.ts";
import { foldName } from "../../base/names.ts";
import { DEFAULT_HOST } from "../../base/server-address.ts";
import { IpcError, type LockStats, ReadersWriterLock } from "../../ipc/index.ts";
import type { SharedMemory } from "../../ipc/shared-memory.ts";
import { isLaterVersion } from "../claim-rules.ts";
import type { DirectoryEntry } from "../entry.ts";
import { findLiveServer, hiddenTableAt, lockName } from "../live-server.ts";
import { TableError } from "./table-error.ts";
import { HEADER, READY } from "./table-layout.ts";
import { NO_SLOT, TableReader } from "./table-reader.ts";
import { openTableSegment } from "./table-segment.ts";

export interface DirectoryOptions {
  readonly port: number;
  readonly address?: string;
}

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
   * Maps the table of the server that a connection to this address reaches: whose socket listens there. What others have put into
   * shared memory under its port is not looked at.
   * @param options.address in numbers, of this host; default 127.0.0.1
   * @throws IpcError ENOENT if there is none, EACCES if its `--table-mode` excludes this user; TalkError `protocol` for a table of
   * another version (both are named), `unreachable` if it is not ready within a second or was closed, `usage` for the options
   */
  static open(options: DirectoryOptions): MappedDirectory {
    checkOptions(options);
    const { port, address: host = DEFAULT_HOST } = options;
    const address = { host: canonicalAddress(host), port };
    const live = findLiveServer(address);
    if (live !== null) return new MappedDirectory(live.name);
    const hidden = hiddenTableAt(address);
    if (hidden !== null) throw IpcError.of("EACCES", "shm_open", hidden);
    throw IpcError.of("ENOENT", "shm_open", `/ptalk-server-${port}`, `no server of this host listens on ${host}`);
  }

  /** The table's name in shared memory: "/…". */
  get name(): string {
    return this.#shm.name;
  }

  /** Bytes of the table. */
  get bytes(): number {
    return this.#shm.size;
  }

  /** User id of the table's owner, as the kernel knows it. */
  get uid(): number {
    return fstatSync(this.#shm.fd).uid;
  }

  /** Process id of the server, as the table says; for people. */
  get pid(): number {
    return Atomics.load(this.#words, HEADER.serverPid);
  }

  /** Clients that are on. */
  get count(): number {
    return this.stale ? 0 : Atomics.load(this.#words, HEADER.count);
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

  /**
   * The holders and the waiters of the table's lock, and its counts; takes no slot in it. null when this user may not
   * read it.
   * @throws IpcError ENOENT when the server has removed it
   */
  lockStats(): LockStats | null {
    if (this.#closed) throw TableError.closed(this.#shm.name);
    try {
      return ReadersWriterLock.inspect(lockName(this.#shm.name));
    } catch (error) {
      if (error instanceof IpcError && error.code === "EACCES") return null;
      throw error;
    }
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
    if (key === "address") {
      if (value !== undefined && (typeof value !== "string" || isIP(value) === 0))
        throw misuse(key, "an IPv4 or IPv6 address in numbers");
      continue;
    }
    if (key !== "port") throw misuse(key, "left out: it takes port and address");
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
