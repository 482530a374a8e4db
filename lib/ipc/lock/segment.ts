// The lock's shared memory object: making it, opening it, taking the name away.

import { native } from "../../native.ts";
import { isCode } from "../error.ts";
import { LivenessLocks, sleepSync } from "../liveness-locks.ts";
import { NOT_READY_MS } from "../open-or-create.ts";
import { fdOf, SharedMemory } from "../shared-memory.ts";
import { sweepEpochs } from "./epoch.ts";
import { step } from "./failpoint.ts";
import { CAPACITY, SEGMENT_BYTES } from "./lock-layout.ts";

const POLL_MS = 1;
/** How long `unlinkSegment` waits for a recovery under way, in milliseconds; then it goes ahead, and the recoverer notices. */
const UNLINK_GATE_MS = 100;

/** J1, the creator's part; `mode` is exact, whatever the umask. EEXIST. */
export function createSegment(name: string, mode: number): SharedMemory {
  const shm = SharedMemory.create(name, { size: SEGMENT_BYTES, mode });
  step("J1.created");
  native.fchmod(fdOf(shm), mode);
  return shm;
}

/** J1, everyone else's part. An object without a size is given NOT_READY_MS to get one, then EAGAIN. ENOENT. */
export function openSegment(name: string): SharedMemory {
  const deadline = performance.now() + NOT_READY_MS;
  for (;;) {
    try {
      return SharedMemory.open(name);
    } catch (error) {
      if (!isCode(error, "EAGAIN") || performance.now() >= deadline) throw error;
      sleepSync(POLL_MS);
    }
  }
}

/** Takes a segment away that this process made and could not finish. */
export function discardSegment(shm: SharedMemory): void {
  if (native.fstat(fdOf(shm)).nlink > 0) {
    SharedMemory.unlink(shm.name);
    sweepEpochs(shm.name);
  }
  shm.close();
}

/**
 * Removes the name and the semaphores. Under the gate, so that no recoverer makes new ones meanwhile; whoever recovers later
 * finds the segment unlinked and stops. ENOENT when there is no segment; leftover semaphores are gone then, too.
 */
export function unlinkSegment(name: string): void {
  try {
    unlinkUnderGate(name);
  } finally {
    sweepEpochs(name);
  }
}

function unlinkUnderGate(name: string): void {
  let shm: SharedMemory;
  try {
    shm = SharedMemory.open(name);
  } catch (error) {
    if (!isCode(error, "EAGAIN")) throw error;
    SharedMemory.unlink(name);
    return;
  }
  try {
    new LivenessLocks(fdOf(shm), CAPACITY).withGate(name, UNLINK_GATE_MS, () => SharedMemory.unlink(name));
  } catch (error) {
    if (!isCode(error, "ETIMEDOUT")) throw error;
    SharedMemory.unlink(name);
  } finally {
    shm.close();
  }
}
