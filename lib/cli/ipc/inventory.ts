// This user's ptalk objects under /dev/shm, in groups that live and die together, and whether anyone lives in them.
// Aliveness is the kernel's word: a process that takes part holds a lock on a byte of one of the group's objects.
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { isServerAlive, serverOf } from "../../directory/live-server.ts";
import { IpcError, Semaphore, SharedMemory } from "../../ipc/index.ts";
import { LivenessLocks } from "../../ipc/liveness-locks.ts";
import { fdOf } from "../../ipc/shared-memory.ts";

const PREFIX = "/ptalk-";
const SHM_DIRECTORY = "/dev/shm";
/** Seats asked for in one go: more than any roster has. The kernel answers for the whole range in one call. */
const ALL_SEATS = 2 ** 20;
/** A group this young (ms) may be one that is just being made, as long as nobody could take a seat in it yet. */
export const YOUNG_MS = 5_000;

export interface IpcObject {
  readonly name: string;
  /** A server's Unix socket lies beside its table. */
  readonly kind: "memory" | "semaphore" | "socket";
  /** Bytes. */
  readonly size: number;
  /** Permission bits. */
  readonly mode: number;
}

export interface IpcGroup {
  /** "/ptalk-server-5518-1000.0123456789abcdef", "/ptalk-host-1000" */
  readonly name: string;
  readonly state: "live" | "new" | "dead";
  /** It will soon be live or dead for good: it is new, or its server has died and the workers are about to. */
  readonly passing: boolean;
  readonly objects: readonly IpcObject[];
}

/** @param uid whose objects */
export function inventory(uid: number): IpcGroup[] {
  const groups = new Map<string, { newest: number; objects: IpcObject[] }>();
  for (const { name, kind } of allNames()) {
    const file = statOf(name, kind);
    if (file === undefined || file.uid !== uid) continue;
    const key = groupOf(name);
    const group = groups.get(key) ?? { newest: 0, objects: [] };
    groups.set(key, group);
    group.objects.push({ name, kind, size: file.size, mode: file.mode & 0o7777 });
    group.newest = Math.max(group.newest, file.ctimeMs);
  }
  return [...groups].map(([name, { newest, objects }]) => {
    if (serverOf(name) !== null) return { name, objects, ...stateOfServer(name) };
    const memory = objects.filter(({ kind }) => kind === "memory");
    const live = memory.some((object) => hasLivingMember(object.name));
    const anchor = anchorOf(name, memory);
    // The anchor is what a group is made with, and has a size before anything else is there.
    const beingMade = !anchor?.size && Date.now() - newest < YOUNG_MS;
    const state = live ? "live" : beingMade ? "new" : "dead";
    return { name, objects, state, passing: live ? !(anchor && hasLivingMember(anchor.name)) : beingMade };
  });
}

/** A server makes and locks its table at once. Its workers live on for a moment when it dies. */
function stateOfServer(name: string): Pick<IpcGroup, "state" | "passing"> {
  if (isServerAlive(name)) return { state: "live", passing: false };
  return hasLivingMember(`${name}.lock`) ? { state: "live", passing: true } : { state: "dead", passing: false };
}

/** The object in which the one who made the group has a seat for as long as the group is in use. */
function anchorOf(group: string, memory: readonly IpcObject[]): IpcObject | undefined {
  return memory.find(({ name }) => name === `${group}.lock`);
}

/** Whether some process holds a member's lock on the object. False too for what is not there any more. */
export function hasLivingMember(name: string): boolean {
  try {
    using shm = SharedMemory.open(name, { readOnly: true });
    const roster = new LivenessLocks(fdOf(shm), ALL_SEATS);
    return roster.someoneElse() !== -1 || roster.gateHeld();
  } catch (error) {
    if (error instanceof IpcError) return false; // gone, or empty: its maker died before it had a size
    throw error;
  }
}

// "/ptalk-host-1000", "/ptalk-host-1000.lock" and "/ptalk-host-1000.lock.7.queue" are one group; "/ptalk-host-1000.1" is another.
function groupOf(name: string): string {
  return serverOf(name) ?? name.replace(/\.lock(\..*)?$/, "");
}

function* allNames(): Generator<Pick<IpcObject, "name" | "kind">> {
  for (const name of SharedMemory.list(PREFIX)) yield { name, kind: "memory" };
  for (const name of Semaphore.list(PREFIX)) yield { name, kind: "semaphore" };
  for (const entry of readdirSync(SHM_DIRECTORY, { withFileTypes: true })) {
    if (entry.isSocket() && `/${entry.name}`.startsWith(PREFIX)) yield { name: `/${entry.name}`, kind: "socket" };
  }
}

// glibc keeps the semaphore "/name" in the file "sem.name" (sem_overview(7)).
function statOf(name: string, kind: IpcObject["kind"]) {
  const file = kind === "semaphore" ? `sem.${name.slice(1)}` : name.slice(1);
  return statSync(join(SHM_DIRECTORY, file), { throwIfNoEntry: false });
}
