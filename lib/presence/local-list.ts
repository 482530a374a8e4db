// Who is on this machine, of all users, from the segments that they write themselves. Only the kernel is believed: the owner of
// a segment is the user, and a row counts if its process is alive with that start time and is that user's.
//
// Segments are read, not mapped: no other process can then truncate one under us, and a read of a fifo or a directory is
// never made. All are read twice; a row that was the same both times and had an even sequence was not being written.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { userNames } from "../base/users.ts";
import { isAlive } from "../ipc/process.ts";
import { decodeRow, type LocalFields, type OwnedLocalEntry } from "./local-entry.ts";
import {
  LOCAL_BYTES,
  LOCAL_HEADER,
  LOCAL_HEADER_BYTES,
  LOCAL_LAYOUT_VERSION,
  LOCAL_MAGIC,
  LOCAL_ROWS,
  MAX_CANDIDATES,
  ROW_BYTES,
  ROW_WORDS,
} from "./local-layout.ts";
import { readOwnedFile, SHM_DIRECTORY, wordsIn } from "./shm-file.ts";

const SEGMENT = /^ptalk-host-(0|[1-9]\d{0,9})(?:\.([1-9]\d?))?$/;
/** A row that changes all the time is read this often at most, then it is taken to be garbage. */
const MAX_READS = 10;

/** A client on this machine. `uid`, `user` and `pid` are the kernel's word. */
export interface LocalEntry extends LocalFields {
  readonly pid: number;
  readonly uid: number;
  /** Login name, or the uid in digits where there is none. */
  readonly user: string;
}

/**
 * Everybody on this machine, by user and name. Never throws for what others have put into /dev/shm: what makes no sense is left
 * out. A few system calls for each user and each client.
 */
export function listLocal(): LocalEntry[] {
  const entries: LocalEntry[] = [];
  const userOf = userNames();
  for (const { file, uid } of segments()) {
    for (const { startTime: _, ...shown } of rowsOf(file, uid) ?? []) {
      entries.push({ ...shown, uid, user: userOf(uid) });
    }
  }
  return entries.sort((a, b) => a.uid - b.uid || (a.name < b.name ? -1 : 1) || a.pid - b.pid);
}

/** One user's local table. */
export interface LocalTableInfo {
  /** The POSIX name: "/name". */
  readonly name: string;
  readonly bytes: number;
  /** Clients that are alive. */
  readonly rows: number;
  readonly uid: number;
}

/** The local tables of all users, as `listLocal` reads them. */
export function localTables(): LocalTableInfo[] {
  return segments().flatMap(({ name, file, uid }) => {
    const rows = rowsOf(file, uid);
    return rows === null ? [] : [{ name, bytes: LOCAL_BYTES, rows: rows.length, uid }];
  });
}

/** What has the name of a local table, by name. */
function segments(): { readonly name: string; readonly file: string; readonly uid: number }[] {
  return readdirSync(SHM_DIRECTORY)
    .sort()
    .flatMap((entry) => {
      const [file, digits, candidate = "0"] = SEGMENT.exec(entry) ?? [];
      if (file === undefined || Number(candidate) >= MAX_CANDIDATES) return [];
      return [{ name: `/${file}`, file: join(SHM_DIRECTORY, file), uid: Number(digits) }];
    });
}

/** The rows of one segment that are this user's own, alive; null if it is no local table of this user. */
function rowsOf(path: string, uid: number): OwnedLocalEntry[] | null {
  // Each user has names of its own to list: a segment of another owner counts for neither.
  return readOwnedFile(path, uid, LOCAL_BYTES, (fd) => readRows(fd).filter((row) => isAliveAs(row, uid)));
}

function readRows(fd: number): OwnedLocalEntry[] {
  const header = wordsIn(fd, 0, LOCAL_HEADER_BYTES);
  if (header[LOCAL_HEADER.magic] !== LOCAL_MAGIC || header[LOCAL_HEADER.layoutVersion] !== LOCAL_LAYOUT_VERSION)
    return [];
  const used = Math.max(0, Math.min(header[LOCAL_HEADER.usedRows] as number, LOCAL_ROWS));
  const first = wordsIn(fd, LOCAL_HEADER_BYTES, used * ROW_BYTES);
  const second = wordsIn(fd, LOCAL_HEADER_BYTES, used * ROW_BYTES);
  const rows: OwnedLocalEntry[] = [];
  for (let index = 0; index < used; index++) {
    let before = first.slice(index * ROW_WORDS, (index + 1) * ROW_WORDS);
    let after = second.slice(index * ROW_WORDS, (index + 1) * ROW_WORDS);
    for (let reads = 2; !isSettled(before, after) && reads < MAX_READS; reads++) {
      before = after;
      after = wordsIn(fd, LOCAL_HEADER_BYTES + index * ROW_BYTES, ROW_BYTES);
    }
    const row = isSettled(before, after) ? decodeRow(after) : null;
    if (row !== null) rows.push(row);
  }
  return rows;
}

function isSettled(before: Int32Array, after: Int32Array): boolean {
  return ((after[0] as number) & 1) === 0 && before.every((word, index) => word === after[index]);
}

/** The effective uid is the second number of proc_pid_status(5)'s "Uid:". (The directory's owner is root's for some.) */
function isAliveAs(row: OwnedLocalEntry, uid: number): boolean {
  let status: string;
  try {
    status = readFileSync(`/proc/${row.pid}/status`, "latin1");
  } catch {
    return isHidden(row.pid);
  }
  const effective = /^Uid:\t\d+\t(\d+)/m.exec(status)?.[1];
  return Number(effective) === uid && isAlive({ pid: row.pid, startTime: row.startTime });
}

/**
 * Whether there is such a process of another user that /proc does not show (proc(5), hidepid). That its number was given out
 * again since, nobody can see there: the row of a killed client may outlive it until its user's next client comes.
 */
function isHidden(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false; // ours to signal, so ours to see: it has just begun or just ended
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
