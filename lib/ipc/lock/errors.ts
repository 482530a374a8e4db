// What can go wrong with a lock, in sentences. The codes are those of errno(3).

import { native } from "../../native.ts";
import { IpcError } from "../error.ts";
import { CAPACITY, type Kind, Kind as Kinds, LAYOUT_VERSION, SEGMENT_BYTES } from "./lock-layout.ts";
import type { Participant } from "./participant.ts";
import { holdersOf, type LockUser } from "./stats.ts";

/** At most this many holders are named in a message. */
const NAMED_HOLDERS_MAX = 5;

/** ETIMEDOUT that says who is in the way; a stopped process (SIGSTOP) holds what it holds until it is continued or killed. */
export function timedOut(p: Participant, kind: Kind, timeoutMs: number): IpcError {
  const wanted = kind === Kinds.read ? "read" : "write";
  const detail = `no ${wanted} lock within ${timeoutMs} ms; ${inTheWay(p)}`;
  return IpcError.of("ETIMEDOUT", "sem_timedwait", p.name, detail);
}

function inTheWay(p: Participant): string {
  const recoverer = p.ledger.gateHolder;
  if (recoverer !== 0 && p.roster.gateHeld()) return `process ${described(recoverer)} is recovering it; ${held(p)}`;
  return held(p);
}

function held(p: Participant): string {
  const holders = holdersOf(p.ledger);
  if (holders.length === 0) return "nobody is inside";
  const named = holders
    .slice(0, NAMED_HOLDERS_MAX)
    .map((holder) => (holder.slot === p.slot ? "another section of this instance" : named1(holder)));
  const more = holders.length - named.length;
  return `held by ${named.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

function named1(holder: LockUser): string {
  return `${holder.kind === "read" ? "reader" : "writer"} ${described(holder.pid)}`;
}

function described(pid: number): string {
  const state = native.processStart(pid)?.state;
  return state === "T" || state === "t" ? `pid ${pid} (stopped)` : `pid ${pid}`;
}

export function busy(name: string): IpcError {
  return IpcError.of(
    "EBUSY",
    "close",
    name,
    "a section of this instance holds or awaits the lock: let it end before closing",
  );
}

export function closed(name: string): IpcError {
  return IpcError.of("EBADF", "sem_wait", name, "it is closed");
}

export function full(name: string): IpcError {
  return IpcError.of("EUSERS", "fcntl", name, `all ${CAPACITY} places of the lock are taken by live participants`);
}

export function unlinked(name: string): IpcError {
  return IpcError.of(
    "ENOENT",
    "shm_open",
    name,
    "the lock was unlinked while in use and cannot be recovered: open it anew",
  );
}

export function truncated(name: string): IpcError {
  return IpcError.of("EIO", "mmap", name, "another process truncated the lock's memory: unlink it and open it anew");
}

export function notALock(name: string, found: string): IpcError {
  return IpcError.of("EINVAL", "mmap", name, `not a readers-writers lock: ${found}`);
}

export function wrongSize(name: string, size: number): IpcError {
  return notALock(name, `it has ${size} bytes, layout version ${LAYOUT_VERSION} has ${SEGMENT_BYTES}`);
}

export function wrongVersion(name: string, version: number): IpcError {
  return IpcError.of(
    "EINVAL",
    "mmap",
    name,
    `the lock has layout version ${version}, this ptalk understands ${LAYOUT_VERSION}`,
  );
}

export function notReady(name: string, waitedMs: number): IpcError {
  return IpcError.of(
    "ETIMEDOUT",
    "mmap",
    name,
    `it is not ready after ${waitedMs} ms: its creator is stopped or very slow`,
  );
}
