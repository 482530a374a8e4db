// The keys that a user's programs use on this machine, those of `ptalk send` too, in the user's segment: a client that
// claims to be that user here must have one of them. Only the file's owner and the keys count, never a pid: processes
// may be hidden (proc(5), hidepid). Keys stay for as long as the segment.
import { join } from "node:path";
import { SharedMemory } from "../ipc/shared-memory.ts";
import {
  KEY_AREA,
  KEY_AREA_AT,
  KEY_AREA_WORDS,
  KEY_SLOT,
  KEY_SLOT_WORDS,
  KEY_WORDS,
  LOCAL_BYTES,
  LOCAL_HEADER,
  LOCAL_HEADER_WORDS,
  LOCAL_LAYOUT_VERSION,
  LOCAL_MAGIC,
  localTableName,
  MAX_CANDIDATES,
  MAX_KEYS,
} from "./local-layout.ts";
import { readOwnedFile, SHM_DIRECTORY, wordsIn } from "./shm-file.ts";

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;
const [EMPTY, WRITING, READY] = [0, 1, 2];

/**
 * Adds a key to a mapped segment. Several processes may do so at once: each slot is one's from the first step on.
 * @param key 32 bytes
 */
export function addKey(words: Int32Array, key: Uint8Array): void {
  const wanted = new Int32Array(Uint8Array.from(key).buffer);
  for (let slot = 0; slot < MAX_KEYS; slot++) {
    const at = KEY_AREA_AT + KEY_AREA.keys + slot * KEY_SLOT_WORDS;
    const state = Atomics.compareExchange(words, at + KEY_SLOT.state, EMPTY, WRITING);
    if (state === EMPTY) {
      for (let i = 0; i < KEY_WORDS; i++) Atomics.store(words, at + KEY_SLOT.key + i, wanted[i] as number);
      Atomics.store(words, at + KEY_SLOT.state, READY);
      return;
    }
    if (state === READY && wanted.every((word, i) => Atomics.load(words, at + KEY_SLOT.key + i) === word)) return;
  }
  Atomics.store(words, KEY_AREA_AT + KEY_AREA.keysLost, 1);
}

/**
 * Adds a key to this user's segment, if there is one: for programs that take no row in it. Without one nothing contradicts the key.
 * @throws IpcError
 */
export function addOwnKey(key: Uint8Array): void {
  const uid = process.geteuid?.() ?? 0;
  for (const { name, shown } of segmentsOf(uid)) {
    if (shown !== "lost" && shown.has(Buffer.from(key).toString("base64"))) continue;
    using data = SharedMemory.open(name);
    if (data.size === LOCAL_BYTES) addKey(new Int32Array(data.buffer), key);
  }
}

/**
 * The keys (base64) that this user's segments show. Null when they say nothing: there is none, or there were more keys than fit.
 */
export function keysOfUser(uid: number): ReadonlySet<string> | null {
  const keys = new Set<string>();
  for (const { shown } of segmentsOf(uid)) {
    if (shown === "lost" || shown.size === 0) return null;
    for (const key of shown) keys.add(key);
  }
  return keys.size === 0 ? null : keys;
}

/** Whether this user's programs have used more keys than the segment can show: it then says nothing of any, for as long as it is there. */
export function hasLostKeys(uid: number): boolean {
  for (const { shown } of segmentsOf(uid)) if (shown === "lost") return true;
  return false;
}

function* segmentsOf(uid: number): Iterable<{ readonly name: string; readonly shown: ReadonlySet<string> | "lost" }> {
  for (let candidate = 0; candidate < MAX_CANDIDATES; candidate++) {
    const name = localTableName(uid, candidate);
    const shown = keysIn(join(SHM_DIRECTORY, name), uid);
    if (shown !== null) yield { name, shown };
  }
}

/** Null: no local table of this user. "lost": it is one, and there were more keys than fit. */
function keysIn(path: string, uid: number): ReadonlySet<string> | "lost" | null {
  return readOwnedFile<ReadonlySet<string> | "lost">(path, uid, LOCAL_BYTES, (fd) => {
    const header = wordsIn(fd, 0, LOCAL_HEADER_WORDS * WORD_BYTES);
    if (header[LOCAL_HEADER.magic] !== LOCAL_MAGIC || header[LOCAL_HEADER.layoutVersion] !== LOCAL_LAYOUT_VERSION)
      return null;
    const words = wordsIn(fd, KEY_AREA_AT * WORD_BYTES, KEY_AREA_WORDS * WORD_BYTES);
    if (words[KEY_AREA.keysLost] !== 0) return "lost";
    const keys = new Set<string>();
    for (let slot = 0; slot < MAX_KEYS; slot++) {
      const at = KEY_AREA.keys + slot * KEY_SLOT_WORDS;
      if (words[at + KEY_SLOT.state] !== READY) continue;
      const bytes = words.slice(at + KEY_SLOT.key, at + KEY_SLOT.key + KEY_WORDS);
      keys.add(Buffer.from(bytes.buffer).toString("base64"));
    }
    return keys;
  });
}
