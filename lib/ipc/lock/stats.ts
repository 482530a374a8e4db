// What a lock's ledger tells people: who is inside, who waits, how often. A snapshot, read without stopping anybody.

import type { Ledger } from "./ledger.ts";
import { CAPACITY, Header, Kind, Phase, Slot, slotAt } from "./lock-layout.ts";

/** A process that is inside, or waits. */
export interface LockUser {
  pid: number;
  /** Clock ticks after boot at which the process started (proc_pid_stat(5), field 22); tells a reused pid. */
  startTime: number;
  kind: "read" | "write";
  /** How far it is: "want" (stands in the queue), "queued" (is the next to enter), "inside", "leaving". docs/LOCK.md has the steps. */
  phase: "want" | "queued" | "inside" | "leaving";
  /** When its section, or its wait, began; milliseconds since the Unix epoch. */
  since: number;
  /** Its place in the ledger, 0 to 255. */
  slot: number;
}

type ShownPhase = LockUser["phase"];

/** A lock's state at one instant, from `stats()` or `inspect()`. */
export interface LockStats {
  /** Sections entered since the lock was created. */
  acquisitions: { read: number; write: number };
  /** How many of them could not enter at once. */
  waits: number;
  /** How often the lock was rebuilt, after a death as a rule. */
  recoveries: number;
  /** The number in the semaphores' names ("/name.EPOCH.queue"); odd while a recovery is under way. */
  epoch: number;
  /** A writer died inside, and nobody has repaired the data since. */
  damaged: boolean;
  holders: LockUser[];
  waiting: LockUser[];
}

export function statsOf(ledger: Ledger): LockStats {
  return {
    acquisitions: { read: sum(ledger, Slot.readsLow), write: sum(ledger, Slot.writesLow) },
    waits: sum(ledger, Slot.waitsLow),
    recoveries: ledger.counter(Header.recoveriesLow),
    epoch: ledger.epoch >>> 0,
    damaged: ledger.damaged,
    holders: holdersOf(ledger),
    waiting: usersIn(ledger, "want", "queued"),
  };
}

/** Who has the room, leaving included. */
export function holdersOf(ledger: Ledger): LockUser[] {
  return usersIn(ledger, "inside", "leaving");
}

/** Whether a writer is on its way in: no more readers should share the entry of one that is inside. */
export function writerWaits(ledger: Ledger): boolean {
  for (let slot = 0, used = ledger.slotsUsed; slot < used; slot++) {
    const phase = ledger.phase(slot);
    if ((phase === Phase.want || phase === Phase.queued) && ledger.load(slot, Slot.kind) === Kind.write) return true;
  }
  return false;
}

function usersIn(ledger: Ledger, ...phases: ShownPhase[]): LockUser[] {
  const users: LockUser[] = [];
  for (let slot = 0; slot < CAPACITY; slot++) {
    const phase = ledger.phase(slot);
    const shown = phases.find((name) => Phase[name] === phase);
    if (shown !== undefined) users.push(userAt(ledger, slot, shown));
  }
  return users;
}

function userAt(ledger: Ledger, slot: number, phase: ShownPhase): LockUser {
  const now = Date.now();
  return {
    pid: ledger.load(slot, Slot.pid),
    startTime: (ledger.load(slot, Slot.startHigh) >>> 0) * 2 ** 32 + (ledger.load(slot, Slot.startLow) >>> 0),
    kind: ledger.load(slot, Slot.kind) === Kind.read ? "read" : "write",
    phase,
    // The word has the low 32 bits of the time: 49 days, counted back from now.
    since: now - (((now | 0) - ledger.load(slot, Slot.since)) >>> 0),
    slot,
  };
}

// Kept slot by slot, so that participants never contend for a counter; a slot keeps its counts when its owner goes.
function sum(ledger: Ledger, field: number): number {
  let total = 0;
  for (let slot = 0; slot < CAPACITY; slot++) total += ledger.counter(slotAt(slot) + field);
  return total;
}
