// The server's log: one line an event, on stderr, for people or with --json for machines. Keys, signatures and what people
// say to each other never get here: callers pass names, addresses, counts and errors.
import { writeSync } from "node:fs";

export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  error(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
}

export const silentLog: Log = { error() {}, warn() {}, info() {} };

type Level = "error" | "warn" | "info";

export const STDOUT = 1;
export const STDERR = 2;

/** @param worker number of the worker that writes, undefined for the primary */
export function openLog(json: boolean, worker?: number): Log {
  const write = json ? machineLines(worker) : humanLines(worker);
  return {
    error: (event, fields) => write("error", event, fields),
    warn: (event, fields) => write("warn", event, fields),
    info: (event, fields) => write("info", event, fields),
  };
}

type WriteEvent = (level: Level, event: string, fields?: LogFields) => void;

/** One JSON object a line: level, time, pid, worker, the event's fields, msg. */
function machineLines(worker: number | undefined): WriteEvent {
  const base = worker === undefined ? { pid: process.pid } : { pid: process.pid, worker };
  return (level, event, fields) => {
    const line = { level, time: new Date().toISOString(), ...base, ...plain(fields), msg: event };
    writeOrForget(STDERR, `${JSON.stringify(line, exact)}\n`);
  };
}

/** JSON has no bigint. */
const exact = (_key: string, value: unknown): unknown => (typeof value === "bigint" ? String(value) : value);

function humanLines(worker: number | undefined): WriteEvent {
  const who = worker === undefined ? "" : ` worker ${worker}:`;
  return (level, event, fields) => {
    const details = Object.entries(plain(fields)).map(([field, value]) => ` ${field}=${word(value)}`);
    const mark = level === "info" ? "" : ` ${level}:`;
    writeOrForget(STDERR, `${new Date().toISOString()}${mark}${who} ${event}${details.join("")}\n`);
  };
}

/**
 * Writes at once (what a process said before it was killed is what one wants to read), or not at all: a server goes on when the
 * disk is full, the terminal is gone, or the reader has left.
 */
export function writeOrForget(fd: number, text: string): void {
  try {
    writeSync(fd, text);
  } catch {
    // ENOSPC, EPIPE, EIO…
  }
}

/** Errors by their message and code: stacks are for NODE_DEBUG. */
function plain(fields: LogFields = {}): Record<string, unknown> {
  const values = Object.entries(fields).map(([field, value]) => [
    field,
    value instanceof Error ? value.message : value,
  ]);
  return Object.fromEntries(values);
}

function word(value: unknown): string {
  const text = String(value);
  // One event is one line, whatever is in it.
  return /^[\p{L}\p{N}_.:/@+-]+$/u.test(text) ? text : JSON.stringify(text);
}
