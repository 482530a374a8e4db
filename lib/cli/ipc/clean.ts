// Removes what dead processes have left. The anchor of a group (the object with the members' locks) goes last and under its
// gate, as everyone who joins and leaves does it: a newcomer either sees the old group whole or none.

import { removeServer, serverOf } from "../../directory/live-server.ts";
import { IpcError, Semaphore, SharedMemory } from "../../ipc/index.ts";
import { LivenessLocks } from "../../ipc/liveness-locks.ts";
import { fdOf } from "../../ipc/shared-memory.ts";
import type { IpcGroup, IpcObject } from "./inventory.ts";

const ALL_SEATS = 2 ** 20;
const GATE_TIMEOUT_MS = 1_000;
const ANCHOR = /\.lock$/;

/** @returns the objects removed; none if somebody has moved in meanwhile */
export function clean(group: IpcGroup): IpcObject[] {
  if (serverOf(group.name) !== null) return removeServer(group.name) ? [...group.objects] : [];
  const anchors = group.objects.filter(({ kind, name }) => kind === "memory" && ANCHOR.test(name));
  const others = group.objects.filter((object) => !anchors.includes(object));
  return underGates(anchors, () => [...others, ...anchors].filter(remove));
}

function underGates(anchors: readonly IpcObject[], turn: () => IpcObject[]): IpcObject[] {
  const [anchor, ...rest] = anchors;
  if (anchor === undefined) return turn();
  let shm: SharedMemory;
  try {
    shm = SharedMemory.open(anchor.name);
  } catch (error) {
    if (error instanceof IpcError) return underGates(rest, turn); // gone, or without a size: nobody lives in it
    throw error;
  }
  using _shm = shm;
  const roster = new LivenessLocks(fdOf(shm), ALL_SEATS);
  return roster.withGate(anchor.name, GATE_TIMEOUT_MS, () => {
    const moved = roster.someoneElse() !== -1 || !roster.isNamed(anchor.name);
    return moved ? [] : underGates(rest, turn);
  });
}

function remove({ name, kind }: IpcObject): boolean {
  try {
    if (kind === "semaphore") Semaphore.unlink(name);
    else SharedMemory.unlink(name);
    return true;
  } catch (error) {
    if (error instanceof IpcError && error.code === "ENOENT") return false;
    throw error;
  }
}
