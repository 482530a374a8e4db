// LEAVE, steps L1 to L4 of docs/LOCK.md. Never waits: a leaver needs nobody, so a stopped or dying recoverer cannot hold it up.

import { isCode } from "../error.ts";
import type { Semaphore } from "../semaphore.ts";
import { step } from "./failpoint.ts";
import { Kind, Phase } from "./lock-layout.ts";
import { type Participant, semaphoresOf, setPhase, standDown } from "./participant.ts";

/** Caller is INSIDE and has finished with the data. */
export function leave(p: Participant, kind: Kind): void {
  const { queue, room, epoch } = semaphoresOf(p);
  setPhase(p, Phase.leaving); // L1
  step("L1");
  if (kind === Kind.read) {
    const before = p.ledger.changeReaders(epoch, -1); // L2; -1: the epoch moved, its room is of no use to anyone
    step("L2.count");
    if (before === 1) give(room);
    step("L2");
  } else {
    give(room); // L2
    step("L2");
    give(queue); // L3
    step("L3");
  }
  standDown(p); // L4
  step("L4");
}

/** Posts. A semaphore filled up by somebody's own posts (EOVERFLOW) needs no token of ours; its value gives it away to recovery. */
export function give(semaphore: Semaphore): void {
  try {
    semaphore.post();
  } catch (error) {
    if (!isCode(error, "EOVERFLOW")) throw error;
  }
}
