// One client's row of the local table: what it says, checked on the way in, and distrusted on the way out.
import { isIP } from "node:net";
import { TalkError } from "../base/errors.ts";
import { foldIfValid, validateName } from "../base/names.ts";
import { MAX_TIME } from "../directory/entry.ts";
import { loadNumber, storeNumber } from "../ipc/words.ts";
import { MAX_ADDRESS_BYTES, MAX_SERVER_BYTES, MAX_TTY_BYTES, ROW, ROW_TEXT_BYTES, ROW_WORDS } from "./local-layout.ts";

/** What a client says about itself; who it is (uid, pid) is the kernel's to say. */
export interface LocalFields {
  readonly name: string;
  /** "/dev/pts/3", null without a terminal. */
  readonly tty: string | null;
  /** "HOST:PORT" of the lookup server, at most 255 printable ASCII characters. */
  readonly server: string;
  /** Numeric, v4 or v6. */
  readonly address: string;
  /** UDP port, 1 to 65535. */
  readonly port: number;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  /** Milliseconds since the epoch of the last message sent or received, null if there was none. */
  readonly lastMessageAt: number | null;
  readonly sent: number;
  readonly received: number;
}

export interface OwnedLocalEntry extends LocalFields {
  readonly pid: number;
  /** Clock ticks since boot, /proc/PID/stat field 22. */
  readonly startTime: number;
}

const PRINTABLE = /^[!-~]+$/;
const NO_TEXT = "";

/** Words of a row from `pid` on, ready to be stored. @throws TalkError `bad-name`, `bad-data` naming the field */
export function encodeRow(row: OwnedLocalEntry): Int32Array {
  validateName(row.name);
  const tty = row.tty ?? NO_TEXT;
  require(tty === NO_TEXT || isText(tty, MAX_TTY_BYTES), "tty must be a device's path or null");
  require(isText(row.server, MAX_SERVER_BYTES), "server must be HOST:PORT");
  require(isAddress(row.address), "address must be an IPv4 or IPv6 address in numbers");
  require(isWhole(row.port, 65535) && row.port > 0, "port must be a whole number from 1 to 65535");
  require(isWhole(row.startedAt, MAX_TIME), "startedAt must be ms since the epoch");
  require(row.lastMessageAt === null ||
    isWhole(row.lastMessageAt, MAX_TIME), "lastMessageAt must be ms since the epoch");
  require(isWhole(row.sent, Number.MAX_SAFE_INTEGER), "sent must be a count");
  require(isWhole(row.received, Number.MAX_SAFE_INTEGER), "received must be a count");
  const words = new Int32Array(ROW_WORDS);
  const bytes = Buffer.from(words.buffer, ROW.text * Int32Array.BYTES_PER_ELEMENT, ROW_TEXT_BYTES);
  let lengths = 0;
  let at = 0;
  [row.name, tty, row.address, row.server].forEach((text, index) => {
    const length = bytes.write(text, at);
    lengths |= length << (8 * index);
    at += length;
  });
  words[ROW.pid] = row.pid;
  words[ROW.port] = row.port;
  words[ROW.lengths] = lengths;
  storeNumber(words, ROW.startTime, row.startTime);
  storeNumber(words, ROW.startedAt, row.startedAt);
  storeNumber(words, ROW.lastMessageAt, row.lastMessageAt ?? 0);
  storeNumber(words, ROW.sent, row.sent);
  storeNumber(words, ROW.received, row.received);
  return words;
}

function require(holds: boolean, otherwise: string): void {
  if (!holds) throw TalkError.badData(otherwise);
}

/** @param words a private copy of a row @returns null for an empty row, and for anything that no client wrote */
export function decodeRow(words: Int32Array): OwnedLocalEntry | null {
  const pid = words[ROW.pid] as number;
  if (pid <= 0 || ((words[ROW.sequence] as number) & 1) !== 0) return null;
  const lengths = words[ROW.lengths] as number;
  const bytes = Buffer.from(words.buffer, words.byteOffset + ROW.text * Int32Array.BYTES_PER_ELEMENT, ROW_TEXT_BYTES);
  let at = 0;
  const next = (index: number): string => {
    const from = at;
    at += (lengths >>> (8 * index)) & 0xff;
    return at <= ROW_TEXT_BYTES ? bytes.toString("utf8", from, at) : NO_TEXT;
  };
  const name = next(0);
  const tty = next(1);
  const address = next(2);
  const server = next(3);
  const lastMessageAt = loadNumber(words, ROW.lastMessageAt);
  const row: OwnedLocalEntry = {
    name,
    tty: tty === NO_TEXT ? null : tty,
    server,
    address,
    port: words[ROW.port] as number,
    startedAt: loadNumber(words, ROW.startedAt),
    lastMessageAt: lastMessageAt === 0 ? null : lastMessageAt,
    sent: loadNumber(words, ROW.sent),
    received: loadNumber(words, ROW.received),
    pid,
    startTime: loadNumber(words, ROW.startTime),
  };
  const sane =
    foldIfValid(name) !== null &&
    (tty === NO_TEXT || isText(tty, MAX_TTY_BYTES)) &&
    isText(server, MAX_SERVER_BYTES) &&
    isAddress(address) &&
    row.port > 0 &&
    row.port <= 65535 &&
    row.startedAt <= MAX_TIME &&
    lastMessageAt <= MAX_TIME &&
    Number.isSafeInteger(row.sent) &&
    Number.isSafeInteger(row.received) &&
    Number.isSafeInteger(row.startTime);
  return sane ? row : null;
}

function isText(text: string, limit: number): boolean {
  return typeof text === "string" && text.length <= limit && PRINTABLE.test(text);
}

function isAddress(text: string): boolean {
  return typeof text === "string" && text.length <= MAX_ADDRESS_BYTES && isIP(text) !== 0 && !text.includes("%");
}

function isWhole(value: number, most: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= most;
}
