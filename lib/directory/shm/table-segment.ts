// The segment of a table. Its creator fills in everything before it says ready; an opener checks that it is what it says.
import { randomBytes } from "node:crypto";
import { fchmodSync } from "node:fs";
import { fdOf, SharedMemory, wordsOf } from "../../ipc/shared-memory.ts";
import { storeNumber } from "../../ipc/words.ts";
import { TableError } from "./table-error.ts";
import {
  type Geometry,
  geometryOf,
  HEADER,
  LAYOUT_VERSION,
  MAGIC,
  MAX_CAPACITY,
  MIN_CAPACITY,
  READY,
  RECORD_WORDS,
} from "./table-layout.ts";

/** Ms that an opener waits for the creator. A creator needs microseconds; one that takes this long is dead. */
const NOT_READY_MS = 1000;
const POLL_MS = 2;

const pause = new Int32Array(new SharedArrayBuffer(4));

export interface TableSegment {
  readonly shm: SharedMemory;
  readonly words: Int32Array;
  readonly geometry: Geometry;
}

export interface NewTable {
  /** Clients, 1 to 1,048,576. */
  readonly capacity: number;
  /** Permission bits, exactly: the umask does not apply. */
  readonly mode: number;
  /** Inode of the socket that the server listens on; 0: it has none. */
  readonly listener?: number;
  /** A table of this capacity whose contents the new one begins with; its caller holds the write lock. */
  readonly original?: Int32Array;
}

/** @throws IpcError EEXIST, ENOSPC, EACCES; RangeError for a capacity out of bounds */
export function createTableSegment(name: string, { capacity, mode, listener = 0, original }: NewTable): TableSegment {
  if (!Number.isInteger(capacity) || capacity < MIN_CAPACITY || capacity > MAX_CAPACITY) {
    throw new RangeError(`capacity must be a whole number from ${MIN_CAPACITY} to ${MAX_CAPACITY}, not ${capacity}`);
  }
  const geometry = geometryOf(capacity);
  const shm = SharedMemory.create(name, { size: geometry.bytes, mode });
  try {
    fchmodSync(fdOf(shm), mode);
    const words = wordsOf(shm);
    if (original === undefined) initialise(words, geometry, listener);
    else copyTable(words, original);
    return { shm, words, geometry };
  } catch (error) {
    shm.close();
    shm.unlink();
    throw error;
  }
}

function copyTable(words: Int32Array, original: Int32Array): void {
  words.set(original.subarray(0, HEADER.ready));
  words.set(original.subarray(HEADER.ready + 1), HEADER.ready + 1);
  Atomics.store(words, HEADER.ready, READY.open); // last, as a creator does
}

/** Fills in the header of a zeroed table. */
export function initialise(words: Int32Array, geometry: Geometry, listener = 0): void {
  const seed = randomBytes(8);
  Atomics.store(words, HEADER.magic, MAGIC);
  Atomics.store(words, HEADER.layoutVersion, LAYOUT_VERSION);
  Atomics.store(words, HEADER.capacity, geometry.capacity);
  Atomics.store(words, HEADER.recordWords, RECORD_WORDS);
  Atomics.store(words, HEADER.seed, seed.readInt32LE(0));
  Atomics.store(words, HEADER.seed + 1, seed.readInt32LE(4));
  storeNumber(words, HEADER.createdAt, Date.now());
  Atomics.store(words, HEADER.serverPid, process.pid);
  storeNumber(words, HEADER.listener, listener);
  Atomics.store(words, HEADER.ready, READY.open);
}

/**
 * @throws IpcError ENOENT, EACCES; TalkError `protocol` if it is no table, or of another layout (both are named),
 * `unreachable` if it is not ready within a second or was closed by its server
 */
export function openTableSegment(name: string, readOnly: boolean): TableSegment {
  const shm = SharedMemory.open(name, { readOnly });
  try {
    const words = wordsOf(shm);
    const deadline = performance.now() + NOT_READY_MS;
    for (;;) {
      const geometry = readHeader(words, shm.size, name);
      if (geometry !== null) return { shm, words, geometry };
      if (performance.now() >= deadline) throw TableError.notReady(name, NOT_READY_MS);
      Atomics.wait(pause, 0, 0, POLL_MS);
    }
  } catch (error) {
    shm.close();
    throw error;
  }
}

/** @param size the segment's, in bytes @returns null while the creator has not finished */
export function readHeader(words: Int32Array, size: number, path: string): Geometry | null {
  if (size < geometryOf(MIN_CAPACITY).bytes) throw TableError.notATable(path, `it has ${size} bytes`);
  const magic = Atomics.load(words, HEADER.magic);
  if (magic === 0) return null;
  if (magic !== MAGIC) throw TableError.notATable(path, "it begins with other bytes");
  const version = Atomics.load(words, HEADER.layoutVersion);
  const ready = Atomics.load(words, HEADER.ready);
  if (version !== LAYOUT_VERSION && version !== 0) {
    throw TableError.mismatch(path, `layout version ${version}`, `version ${LAYOUT_VERSION}`);
  }
  if (ready === 0) return null;
  if (ready === READY.closed) throw TableError.retired(path);
  if (ready !== READY.open || version === 0) throw TableError.notATable(path, "its header makes no sense");
  const recordWords = Atomics.load(words, HEADER.recordWords);
  if (recordWords !== RECORD_WORDS) {
    throw TableError.mismatch(path, `records of ${recordWords} words`, `records of ${RECORD_WORDS}`);
  }
  const capacity = Atomics.load(words, HEADER.capacity);
  if (capacity < MIN_CAPACITY || capacity > MAX_CAPACITY) {
    throw TableError.notATable(path, `it claims a capacity of ${capacity}`);
  }
  const geometry = geometryOf(capacity);
  if (size !== geometry.bytes) {
    throw TableError.notATable(path, `${capacity} clients take ${geometry.bytes} bytes, it has ${size}`);
  }
  return geometry;
}
