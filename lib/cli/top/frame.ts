// A snapshot as lines for a terminal. Pure: a snapshot in, text out.
import { table } from "../format.ts";
import type { Paint } from "../style.ts";
import { clip } from "../terminal/layout.ts";
import { duration, span } from "../times.ts";
import type { TopLockUser, TopSnapshot } from "./snapshot.ts";

export interface FrameOptions {
  readonly columns: number;
  readonly paint: Paint;
  /** The snapshot before, for rates. */
  readonly before: TopSnapshot | null;
  /** Login name of a user id. */
  readonly userOf: (uid: number) => string;
}

/** Users of a lock that are shown; the others are counted. */
const LOCK_USERS = 8;

/** The lines of one screen, each at most `columns` wide. */
export function frame(snapshot: TopSnapshot, options: FrameOptions): string[] {
  const lines = [
    ...serverLines(snapshot, options),
    "",
    ...lockLines(snapshot, options),
    "",
    ...signalLines(snapshot, options),
    "",
    ...tableLines(snapshot, options),
  ];
  return lines;
}

/** As table(), its lines no wider than the screen: cut before they are painted. */
function cutTable(header: readonly string[], rows: readonly (readonly string[])[], options: FrameOptions): string[] {
  const plain = table(header, rows, (_, text) => text).map((line) => clip(line, options.columns));
  return plain.map((line, i) => (i === 0 ? options.paint("bold", line) : line));
}

function serverLines({ at, server }: TopSnapshot, options: FrameOptions): string[] {
  const { before, columns, paint, userOf } = options;
  if (server === null) return [paint("bold", clip(`no server  ${at}`, columns))];
  const { address, pid, uid, uptimeMs, clients, capacity, workers } = server;
  const head = `server ${address}  pid ${pid} (${userOf(uid)})  up ${span(uptimeMs)}  clients ${clients}/${capacity}`;
  const seconds = before === null ? 0 : (Date.parse(at) - Date.parse(before.at)) / 1000;
  const rows = workers.map((worker) => {
    const old = before?.server?.workers.find(({ pid }) => pid === worker.pid);
    const rate =
      old === undefined || seconds <= 0 ? "-" : String(Math.round((worker.requests - old.requests) / seconds));
    const { id, connections, requests, loopDelayP99Ms } = worker;
    const numbers = [id, worker.pid, connections, worker.clients, requests].map(String);
    return [...numbers, rate, duration(loopDelayP99Ms)];
  });
  const header = ["WORKER", "PID", "CONNECTIONS", "CLIENTS", "REQUESTS", "A SECOND", "LOOP DELAY P99"];
  return [paint("bold", clip(head, columns)), "", ...cutTable(header, rows, options)];
}

function lockLines({ lock }: TopSnapshot, options: FrameOptions): string[] {
  const { columns, paint } = options;
  if (lock === null) return [paint("dim", clip("the lock cannot be seen from here", columns))];
  const { epoch, holders, waiters, recoveries } = lock;
  const counts = `inside ${holders.length}  waiting ${waiters.length}  recoveries ${recoveries}  epoch ${epoch}`;
  const users = [...holders, ...waiters];
  const rows = users.slice(0, LOCK_USERS).map(userRow);
  const more = users.length > LOCK_USERS ? [`and ${users.length - LOCK_USERS} more`] : [];
  const listed = rows.length === 0 ? [] : cutTable(["PID", "KIND", "PHASE", "SINCE"], rows, options);
  return [paint("bold", clip(`lock  ${counts}`, columns)), ...listed, ...more];
}

const userRow = ({ pid, kind, phase, sinceMs }: TopLockUser): string[] => [
  String(pid),
  kind,
  phase,
  sinceMs < 120_000 ? duration(sinceMs) : span(sinceMs),
];

function signalLines({ signals }: TopSnapshot, options: FrameOptions): string[] {
  if (signals.length === 0) return [options.paint("dim", clip("no signals have come to the server", options.columns))];
  const rows = signals.map(({ name, count, lastPid }) => [name, String(count), lastPid === 0 ? "-" : String(lastPid)]);
  return cutTable(["SIGNAL", "COUNT", "LAST PID"], rows, options);
}

function tableLines({ tables }: TopSnapshot, options: FrameOptions): string[] {
  if (tables.length === 0) return [options.paint("dim", clip("no tables", options.columns))];
  const rows = tables.map(({ name, bytes, rows, owner }) => [name, String(bytes), String(rows), options.userOf(owner)]);
  return cutTable(["TABLE", "BYTES", "ROWS", "OWNER"], rows, options);
}
