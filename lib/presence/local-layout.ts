// The one source of the local table's layout: a header, then one row for each of a user's clients on this machine.
import { MAX_NAME_BYTES } from "../base/names.ts";
import { fullLines, LINE_WORDS, offsetsOf, WORD_BYTES, wordsFor } from "../ipc/words.ts";

/** "ptkL" in memory on a little-endian machine. */
export const LOCAL_MAGIC = 0x4c6b_7470;
/** To be raised with every change of what stands below. */
export const LOCAL_LAYOUT_VERSION = 1;

/** Rows of a segment: of one user's clients on one machine, and of their keys. */
export const SEGMENT_ROWS = 1024;
/** Names tried when other users' objects sit on the first: in the sticky /dev/shm nobody but they can take them away. */
export const MAX_CANDIDATES = 16;
/** Eight groups of four hexadecimal digits. */
export const MAX_ADDRESS_BYTES = 39;
/** "HOST:PORT" */
export const MAX_SERVER_BYTES = 255;
export const MAX_TTY_BYTES = 64;

const header = offsetsOf({
  magic: 1,
  layoutVersion: 1,
  /** Rows from here on were never used since the table was made. */
  usedRows: 1,
});
export const LOCAL_HEADER = header.at;
export const LOCAL_HEADER_WORDS = fullLines(header.words) * LINE_WORDS;
export const LOCAL_HEADER_BYTES = LOCAL_HEADER_WORDS * WORD_BYTES;

const row = offsetsOf({
  /** Odd while the owner writes the row. */
  sequence: 1,
  /** 0: nobody's row. */
  pid: 1,
  /** Clock ticks since boot, /proc/PID/stat field 22. */
  startTime: 2,
  /** Milliseconds since the epoch, as the next. */
  startedAt: 2,
  /** 0: never. */
  lastMessageAt: 2,
  sent: 2,
  received: 2,
  port: 1,
  /** Bytes of name, tty, address and server: 8 bits each, lowest first. */
  lengths: 1,
  /** The four texts, packed. */
  text: wordsFor(MAX_NAME_BYTES + MAX_TTY_BYTES + MAX_ADDRESS_BYTES + MAX_SERVER_BYTES),
});
export const ROW = row.at;
export const ROW_WORDS = fullLines(row.words) * LINE_WORDS;
export const ROW_TEXT_BYTES = (row.words - ROW.text) * WORD_BYTES;
export const ROW_BYTES = ROW_WORDS * WORD_BYTES;

/** The segment's exact size. */
export const LOCAL_BYTES = LOCAL_HEADER_BYTES + SEGMENT_ROWS * ROW_BYTES;

/** Keys that a user's programs use here; of more, nothing is said. */
export const MAX_KEYS = 64;
const keySlot = offsetsOf({
  /** 0 empty, 1 being written, 2 to be read. */
  state: 1,
  /** Ed25519 public key. */
  key: 8,
});
export const KEY_SLOT = keySlot.at;
export const KEY_SLOT_WORDS = keySlot.words;
export const KEY_WORDS = 8;

const keyArea = offsetsOf({
  /** 1: there were more keys than slots. */
  keysLost: 1,
  keys: MAX_KEYS * KEY_SLOT_WORDS,
});
/** In the place of the last rows. */
export const KEY_AREA = keyArea.at;
const KEY_ROWS = Math.ceil(keyArea.words / ROW_WORDS);
export const KEY_AREA_WORDS = KEY_ROWS * ROW_WORDS;
/** Rows for clients. */
export const LOCAL_ROWS = SEGMENT_ROWS - KEY_ROWS;
/** Where the keys begin. */
export const KEY_AREA_AT = LOCAL_HEADER_WORDS + LOCAL_ROWS * ROW_WORDS;

/** "/ptalk-host-UID", then ".1" and so on. */
export function localTableName(uid: number, candidate: number): string {
  return candidate === 0 ? `/ptalk-host-${uid}` : `/ptalk-host-${uid}.${candidate}`;
}
