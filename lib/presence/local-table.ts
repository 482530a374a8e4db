// A user's clients on this machine: each writes a row of its own into the user's segment. The first one makes it, the last one
// removes it, however the others ended.
//
// Two objects: "/ptalk-host-UID" holds the rows and may be read by all; "/ptalk-host-UID.lock" may be opened by the user alone
// and carries the record locks: one byte for each member's seat, which the kernel drops when the member dies, and the gate.
// Joining and leaving happen under the gate. A process that holds the gate and still finds the lock object under its name knows
// that no other process can remove it: a leaver removes it under the same gate, and only if no other seat is taken. A process
// that finds it gone begins again with the object that has the name now. So no two live members sit in different segments,
// unless somebody unlinks the objects from outside: then the members move to the next ones (`isNamed`).
import { fchmodSync, fstatSync, lstatSync } from "node:fs";
import { objectBehind } from "../ipc/dev-shm.ts";
import { IpcError, isCode } from "../ipc/error.ts";
import { LivenessLocks } from "../ipc/liveness-locks.ts";
import { processIdentity } from "../ipc/process.ts";
import { fdOf, SharedMemory } from "../ipc/shared-memory.ts";
import { encodeRow, type LocalFields, type OwnedLocalEntry } from "./local-entry.ts";
import { addKey } from "./local-keys.ts";
import {
  LOCAL_BYTES,
  LOCAL_HEADER,
  LOCAL_HEADER_WORDS,
  LOCAL_LAYOUT_VERSION,
  LOCAL_MAGIC,
  LOCAL_ROWS,
  localTableName,
  MAX_CANDIDATES,
  ROW,
  ROW_WORDS,
  SEGMENT_ROWS,
} from "./local-layout.ts";

/** Beginnings again, each because the last member left between our open and our turn at the gate. */
const MAX_ROUNDS = 1000;
/** The gate is held for microseconds; only by a stopped process for longer. */
const GATE_TIMEOUT_MS = 10_000;
const DATA_MODE = 0o644;
const ANCHOR_MODE = 0o600;
const ANCHOR_BYTES = 64; // none of them used: the object is there for its locks

export { localTableName };

export function anchorName(name: string): string {
  return `${name}.lock`;
}

/** This process's membership in its user's local table. */
export class LocalTable implements Disposable {
  /** The segment's name. */
  readonly name: string;
  readonly #anchor: SharedMemory;
  readonly #roster: LivenessLocks;
  readonly #data: SharedMemory;
  readonly #words: Int32Array;
  readonly #seat: number;
  /** The object that had the segment's name when this client joined. */
  readonly #named: string;
  #row: OwnedLocalEntry;
  #left = false;

  private constructor(
    anchor: SharedMemory,
    roster: LivenessLocks,
    data: SharedMemory,
    seat: number,
    row: OwnedLocalEntry,
  ) {
    this.name = data.name;
    this.#anchor = anchor;
    this.#roster = roster;
    this.#data = data;
    this.#words = new Int32Array(data.buffer);
    this.#seat = seat;
    this.#named = objectBehind(data.name);
    this.#row = row;
  }

  /**
   * Enters this process into the local table of its user.
   * @throws TalkError `bad-name`, `bad-data`; IpcError EUSERS when 1018 of the user's clients are on, EACCES when other users
   * occupy all names, ETIMEDOUT when a stopped process keeps the gate
   * @param key the public key that this process uses
   */
  static join(row: LocalFields, key?: Uint8Array): LocalTable {
    const { pid, startTime } = processIdentity() ?? { pid: process.pid, startTime: 0 };
    const owned: OwnedLocalEntry = { ...row, pid, startTime };
    encodeRow(owned); // bad data is refused before anything is made
    const uid = process.geteuid?.() ?? 0;
    for (let candidate = 0; candidate < MAX_CANDIDATES; candidate++) {
      const member = LocalTable.#joinAt(localTableName(uid, candidate), uid, owned);
      if (member !== null) {
        if (key !== undefined) addKey(member.#words, key);
        return member;
      }
    }
    throw IpcError.of("EACCES", "shm_open", localTableName(uid, 0), "objects of other users have all names");
  }

  /** @returns null if somebody else's object has the name */
  static #joinAt(name: string, uid: number, row: OwnedLocalEntry): LocalTable | null {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const anchor = openAnchor(anchorName(name), uid);
      if (anchor === null) return null;
      let member: LocalTable | null = null;
      try {
        const roster = new LivenessLocks(fdOf(anchor), SEGMENT_ROWS);
        const turn = roster.withGate(anchor.name, GATE_TIMEOUT_MS, () => {
          if (!roster.isNamed(anchor.name)) return "gone";
          if (isForeign(name, uid)) {
            if (roster.someoneElse() === -1) anchor.unlink();
            return "foreign";
          }
          member = LocalTable.#takeSeat(name, anchor, roster, row);
          return "joined";
        });
        if (turn === "foreign") return null;
        if (turn === "joined") return member;
      } finally {
        if (member === null) anchor.close();
      }
    }
    throw IpcError.of("EBUSY", "shm_open", name, `it was removed and made again ${MAX_ROUNDS} times meanwhile`);
  }

  /** Caller holds the gate of a lock object that has its name. */
  static #takeSeat(name: string, anchor: SharedMemory, roster: LivenessLocks, row: OwnedLocalEntry): LocalTable {
    const alone = roster.someoneElse() === -1;
    const seat = roster.claimFirst();
    if (seat >= LOCAL_ROWS) roster.release(seat);
    if (seat === -1 || seat >= LOCAL_ROWS)
      throw IpcError.of("EUSERS", "fcntl", name, `${LOCAL_ROWS} clients of this user are on`);
    try {
      const data = openData(name, alone);
      const member = new LocalTable(anchor, roster, data, seat, row);
      member.#write();
      const words = member.#words;
      if (Atomics.load(words, LOCAL_HEADER.usedRows) <= seat) Atomics.store(words, LOCAL_HEADER.usedRows, seat + 1);
      return member;
    } catch (error) {
      if (alone) unlinkIfThere(name, anchor.name);
      throw error;
    }
  }

  /** False once another program has removed the user's objects, as systemd-logind does at the last logout (RemoveIPC). */
  get isNamed(): boolean {
    return !this.#left && this.#roster.isNamed(this.#anchor.name) && objectBehind(this.name) === this.#named;
  }

  /**
   * Takes this user's turn at what only one of the user's processes shall do; the kernel gives it back when the process ends.
   * @param what 0 to 65535
   * @returns a function that gives it back; null while another process holds it
   */
  takeTurn(what: number): (() => void) | null {
    const seat = SEGMENT_ROWS + what;
    if (this.#left || !this.#roster.tryClaim(seat)) return null;
    return () => {
      if (!this.#left) this.#roster.release(seat);
    };
  }

  /** Changes some of this client's row. Costs about a microsecond, no system call. @throws TalkError `bad-data` */
  update(changes: Partial<LocalFields>): void {
    if (this.#left) throw IpcError.of("EBADF", "mmap", this.name, "this client has left the local table");
    const row = { ...this.#row, ...changes };
    const words = encodeRow(row);
    this.#row = row;
    this.#write(words);
  }

  /** Takes this client out; the last one of the user takes the objects away. Again does nothing. */
  leave(): void {
    if (this.#left) return;
    this.#left = true;
    try {
      this.#write(new Int32Array(ROW_WORDS));
      this.#roster.withGate(this.#anchor.name, GATE_TIMEOUT_MS, () => {
        // Under another inode's name we are not: somebody took the objects away from outside, and others may be there now.
        if (this.#roster.someoneElse() === -1 && this.#roster.isNamed(this.#anchor.name)) {
          unlinkIfThere(this.name, this.#anchor.name);
        }
        this.#roster.release(this.#seat);
      });
    } catch (error) {
      // A stopped process keeps the gate: what is left behind, the next one to join takes away.
      if (!isCode(error, "ETIMEDOUT")) throw error;
    } finally {
      this.#data.close();
      this.#anchor.close(); // gives up the seat in any case
    }
  }

  [Symbol.dispose](): void {
    this.leave();
  }

  #write(row: Int32Array = encodeRow(this.#row)): void {
    const at = LOCAL_HEADER_WORDS + this.#seat * ROW_WORDS;
    const sequence = Atomics.load(this.#words, at + ROW.sequence) | 1; // a dead predecessor may have left it odd
    Atomics.store(this.#words, at + ROW.sequence, sequence);
    for (let i = ROW.sequence + 1; i < ROW_WORDS; i++) Atomics.store(this.#words, at + i, row[i] as number);
    Atomics.store(this.#words, at + ROW.sequence, (sequence + 1) | 0);
  }
}

function isThere(name: string): boolean {
  return lstatSync(`/dev/shm${name}`, { throwIfNoEntry: false }) !== undefined;
}

/** Whether the name is taken by something that is not this user's, or no object at all. */
function isForeign(name: string, uid: number): boolean {
  const status = lstatSync(`/dev/shm${name}`, { throwIfNoEntry: false });
  return status !== undefined && (!status.isFile() || status.uid !== uid);
}

/** The lock object, made if there is none. Null if somebody else's has the name. */
function openAnchor(name: string, uid: number): SharedMemory | null {
  if (isForeign(name, uid)) return null;
  let anchor: SharedMemory;
  try {
    anchor = SharedMemory.openOrCreate(name, { size: ANCHOR_BYTES, mode: ANCHOR_MODE });
  } catch (error) {
    if (isCode(error, "EACCES") && isForeign(name, uid)) return null;
    throw error;
  }
  const status = fstatSync(fdOf(anchor));
  if (status.isFile() && status.uid === uid) {
    if ((status.mode & 0o777) !== ANCHOR_MODE) fchmodSync(fdOf(anchor), ANCHOR_MODE);
    return anchor;
  }
  anchor.close();
  return null;
}

/**
 * The segment of the rows. Caller holds the gate.
 * @param alone no other member is alive: what is left there is a dead one's, and is made anew
 */
function openData(name: string, alone: boolean): SharedMemory {
  if (alone) unlinkIfThere(name);
  else if (isThere(name)) {
    const data = SharedMemory.open(name);
    if (data.size === LOCAL_BYTES) {
      const words = new Int32Array(data.buffer);
      const version = Atomics.load(words, LOCAL_HEADER.layoutVersion);
      if (Atomics.load(words, LOCAL_HEADER.magic) === LOCAL_MAGIC && version === LOCAL_LAYOUT_VERSION) return data;
    }
    data.close();
    throw IpcError.of(
      "EPROTO",
      "shm_open",
      name,
      `clients of another version of ptalk are on (here: layout version ${LOCAL_LAYOUT_VERSION})`,
    );
  }
  const data = SharedMemory.create(name, { size: LOCAL_BYTES, mode: DATA_MODE });
  fchmodSync(fdOf(data), DATA_MODE);
  const words = new Int32Array(data.buffer);
  Atomics.store(words, LOCAL_HEADER.layoutVersion, LOCAL_LAYOUT_VERSION);
  Atomics.store(words, LOCAL_HEADER.magic, LOCAL_MAGIC);
  return data;
}

function unlinkIfThere(...names: string[]): void {
  for (const name of names) {
    try {
      SharedMemory.unlink(name);
    } catch (error) {
      if (!isCode(error, "ENOENT")) throw error;
    }
  }
}
