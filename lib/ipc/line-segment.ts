// A segment of one cache line: two words say what it is, the others are its kind's. Whole from the first instant: all words are 0 when it is
// made, so a creator that dies leaves nothing to be repaired but the size.
//
//   word 0  magic      word 1  layout version
import { native } from "../native.ts";
import { IpcError } from "./error.ts";
import { openOrCreateShared } from "./open-or-create.ts";
import { fdOf, SharedMemory, wordsOf } from "./shared-memory.ts";
import { LINE_WORDS, WORD_BYTES } from "./words.ts";

const SEGMENT_BYTES = LINE_WORDS * WORD_BYTES;
const Word = { magic: 0, version: 1 } as const;

export interface LineKind {
  /** "an event", for error messages. */
  readonly what: string;
  /** Four letters, little-endian. */
  readonly magic: number;
  readonly version: number;
}

/** @param mode exact, whatever the umask. @throws IpcError EEXIST */
export function createLine(name: string, mode: number): SharedMemory {
  const shm = SharedMemory.create(name, { size: SEGMENT_BYTES, mode });
  native.fchmod(fdOf(shm), mode);
  return shm;
}

/** @param wrap may throw: the segment is closed then. @throws IpcError ENOENT, EACCES; whatever `wrap` throws */
export function openLine<T>(name: string, wrap: (shm: SharedMemory) => T): T {
  const shm = SharedMemory.open(name);
  try {
    return wrap(shm);
  } catch (error) {
    shm.close();
    throw error;
  }
}

/** Opens, or creates where there is none; also where a creator died before it gave the segment a size. */
export function openOrCreateLine<T>(name: string, mode: number, open: () => T, create: () => T): T {
  const giveSize = () => void SharedMemory.openOrCreate(name, { size: SEGMENT_BYTES, mode }).close();
  return openOrCreateShared(open, create, giveSize);
}

/** The words of a segment of that kind. @throws IpcError EINVAL for another object, or another layout version */
export function lineWords(shm: SharedMemory, { what, magic, version }: LineKind): Int32Array {
  const refuse = (found: string) => IpcError.of("EINVAL", "mmap", shm.name, `not ${what}: ${found}`);
  if (shm.size !== SEGMENT_BYTES) throw refuse(`it has ${shm.size} bytes, not ${SEGMENT_BYTES}`);
  const words = wordsOf(shm);
  // The first process to come writes the constants.
  Atomics.compareExchange(words, Word.version, 0, version);
  const foundMagic = Atomics.compareExchange(words, Word.magic, 0, magic);
  if (foundMagic !== 0 && foundMagic !== magic) throw refuse("it begins with other bytes");
  const foundVersion = Atomics.load(words, Word.version);
  if (foundVersion !== version)
    throw refuse(`it has layout version ${foundVersion}, this ptalk understands ${version}`);
  return words;
}
