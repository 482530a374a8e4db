// This user's agents on this machine (`ptalk agent`), from what each keeps in shared memory. Only reads, and loads nothing of the
// addon: a prompt asks at each turn (`ptalk unread`).
//
// An agent's object, "/ptalk-agent-UID.RANDOM", is its user's alone (0600): it names the last sender. It holds a few
// words and a JSON text; the sequence is odd while the agent writes. It counts while the agent's process lives.
import { readdirSync, readFileSync, readSync } from "node:fs";
import { foldIfValid } from "../base/names.ts";
import { readOwnedFile, SHM_DIRECTORY } from "./shm-file.ts";

/** The object's exact size. */
export const AGENT_BYTES = 4096;
/** "ptkA" in memory on a little-endian machine. */
export const AGENT_MAGIC = 0x416b_7470;
/** To be raised with every change of what stands below. */
export const AGENT_LAYOUT_VERSION = 1;
/** Words before the text: magic, version, sequence, bytes of the text. */
export const AGENT_WORDS = { magic: 0, version: 1, sequence: 2, length: 3, text: 4 };
/** A text that changes all the time is read this often at most. */
const MAX_READS = 10;
const NOT_RUNNING = "ZXx";

/** What an agent says of itself. */
export interface AgentState {
  readonly pid: number;
  /** Clock ticks since boot, /proc/PID/stat field 22. */
  readonly startTime: number;
  readonly name: string;
  /** "HOST:PORT" of the lookup server. */
  readonly server: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  /** Holds the name; or waits for it, while a terminal holds it. */
  readonly state: "on" | "waiting";
  /** Messages that it has taken since a terminal last held the name, without those of ignored senders. */
  readonly unread: number;
  /** The sender of the last of them. */
  readonly lastFrom: string | null;
  /** Milliseconds since the epoch: none of them is older. Null without any. */
  readonly unreadSince: number | null;
}

/** The agents of this user that live, the oldest first. Never throws: what makes no sense is left out. */
export function listAgents(uid = process.geteuid?.() ?? 0): AgentState[] {
  const prefix = `ptalk-agent-${uid}.`;
  return filesIn(SHM_DIRECTORY)
    .filter((file) => file.startsWith(prefix))
    .flatMap((file) => readAgent(`${SHM_DIRECTORY}/${file}`, uid) ?? [])
    .filter(isRunning)
    .sort((a, b) => a.startedAt - b.startedAt);
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function readAgent(path: string, uid: number): AgentState | null {
  return readOwnedFile(path, uid, AGENT_BYTES, (fd) => {
    for (let reads = 0; reads < MAX_READS; reads++) {
      const text = settledText(readAll(fd), readAll(fd));
      if (text !== null) return parse(text);
    }
    return null;
  });
}

function readAll(fd: number): Buffer {
  const bytes = Buffer.alloc(AGENT_BYTES);
  readSync(fd, bytes, 0, AGENT_BYTES, 0);
  return bytes;
}

/** Null while it is being written. */
function settledText(before: Buffer, after: Buffer): string | null {
  const words = new Int32Array(after.buffer, after.byteOffset, AGENT_WORDS.text);
  const isSettled = ((words[AGENT_WORDS.sequence] as number) & 1) === 0 && before.equals(after);
  if (!isSettled) return null;
  if (words[AGENT_WORDS.magic] !== AGENT_MAGIC || words[AGENT_WORDS.version] !== AGENT_LAYOUT_VERSION) return "";
  const start = AGENT_WORDS.text * Int32Array.BYTES_PER_ELEMENT;
  return after.toString("utf8", start, start + Math.max(0, words[AGENT_WORDS.length] as number));
}

function parse(text: string): AgentState | null {
  const found: unknown = text === "" ? null : JSON.parse(text);
  return isState(found) ? found : null;
}

function isState(value: unknown): value is AgentState {
  if (typeof value !== "object" || value === null) return false;
  const { pid, startTime, name, server, startedAt, state, unread, lastFrom, unreadSince } = value as Record<
    keyof AgentState,
    unknown
  >;
  return (
    isCount(pid) &&
    isCount(startTime) &&
    isName(name) &&
    typeof server === "string" &&
    isCount(startedAt) &&
    (state === "on" || state === "waiting") &&
    isCount(unread) &&
    (lastFrom === null || isName(lastFrom)) &&
    (unreadSince === null || typeof unreadSince === "number")
  );
}

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const isName = (value: unknown): boolean => typeof value === "string" && foldIfValid(value) !== null;

/** As isAlive() of lib/ipc, without the addon: a process of our own is never hidden. */
function isRunning({ pid, startTime }: AgentState): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return Number(fields[19]) === startTime && !NOT_RUNNING.includes(fields[0] ?? "");
  } catch {
    return false;
  }
}
