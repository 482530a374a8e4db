// RECOVER, steps R1 to R9 of docs/LOCK.md: one participant at a time, whoever notices first, gives the epoch up and opens the next.
// Sound whatever the reason: a needless recovery costs time, never exclusion. Killed anywhere, the next one starts at R1.

import type { AcquireDeadline } from "./acquire-deadline.ts";
import { closeEpoch, createEpoch, type EpochSemaphores, openEpoch, randomEpoch, sweepEpochs } from "./epoch.ts";
import { truncated, unlinked } from "./errors.ts";
import { step } from "./failpoint.ts";
import {
  CAPACITY,
  Header,
  isOpen,
  isReadersOf,
  Kind,
  nextOpen,
  Phase,
  recoveryOf,
  Slot,
  slotAt,
} from "./lock-layout.ts";
import type { Participant } from "./participant.ts";

/** With nobody inside and no section counted for this long, in milliseconds, a token has been lost or its holder is stopped. */
const STALLED_MS = 500;
/** First and longest pause, in milliseconds, between looks at the gate (R1) and at who is still inside (R4). */
const FIRST_PAUSE_MS = 1;
const LONGEST_PAUSE_MS = 20;

export type Reason =
  | { readonly what: "dead"; readonly slot: number }
  | { readonly what: "closed" | "garbage" | "damaged" }
  | { readonly what: "stalled"; readonly epoch: number };

/** Remembers since when nothing has moved, from the view of one who waits. */
export class StallWatch {
  #progress: number;
  #since = performance.now();

  constructor(p: Participant) {
    this.#progress = progressOf(p);
  }

  stalled(p: Participant): boolean {
    const progress = progressOf(p);
    const now = performance.now();
    if (progress !== this.#progress || someoneInside(p)) {
      this.#progress = progress;
      this.#since = now;
    }
    return now - this.#since >= STALLED_MS;
  }
}

/** Why a participant that wants in should recover first, or null. At each slice end; costs a system call for each busy slot. EIO. */
export function findReason(p: Participant, watch: StallWatch | null = null): Reason | null {
  const { ledger } = p;
  const epoch = ledger.epoch;
  if (p.isTruncated()) throw truncated(p.name);
  if (!isOpen(epoch)) return { what: "closed" };
  if (!ledger.headerIsSound || !isReadersOf(ledger.readers, epoch) || !semaphoresAreSound(p, epoch))
    return ledger.epoch === epoch ? { what: "garbage" } : { what: "closed" };
  for (let slot = 0; slot < CAPACITY; slot++) if (isDead(p, slot)) return { what: "dead", slot };
  return watch?.stalled(p) ? { what: "stalled", epoch } : null;
}

/**
 * R1 to R9. Returns when the epoch that gave the reason is over, by us or by another, or the reason is gone. Throws ETIMEDOUT
 * (naming who is inside or holds the gate), AbortError, or what `repair` threw; the epoch then stays odd, for the next one.
 */
export async function recover(p: Participant, reason: Reason, deadline: AcquireDeadline): Promise<void> {
  if (!(await takeGate(p, deadline))) return; // R1
  const taken: number[] = [];
  try {
    p.ledger.gateHolder = process.pid;
    step("R1");
    if (!p.roster.isLinked()) throw unlinked(p.name);
    if (!isStillNeeded(p, reason)) return; // R2
    step("R2");
    await rebuild(p, taken, deadline);
  } finally {
    for (const slot of taken) p.roster.release(slot);
    p.ledger.gateHolder = 0;
    p.roster.releaseGate();
    step("R8.gate");
  }
}

// False when another participant's recovery made ours needless.
async function takeGate(p: Participant, deadline: AcquireDeadline): Promise<boolean> {
  const seen = p.ledger.epoch;
  for (let pause = FIRST_PAUSE_MS; !p.roster.tryGate(); pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
    deadline.check();
    await deadline.sleep(pause);
    const epoch = p.ledger.epoch;
    if (epoch !== seen && isOpen(epoch)) return false;
  }
  return true;
}

// Under the gate nobody else moves the epoch, so what is true now stays true.
function isStillNeeded(p: Participant, reason: Reason): boolean {
  if (reason.what === "stalled") return p.ledger.epoch === reason.epoch;
  if (reason.what === "damaged") return p.ledger.damaged;
  return findReason(p) !== null;
}

async function rebuild(p: Participant, taken: number[], deadline: AcquireDeadline): Promise<void> {
  const { ledger } = p;
  const old = ledger.epoch;
  ledger.epoch = recoveryOf(old); // R3
  step("R3");
  await waitUntilEmpty(p, taken, deadline); // R4, R5
  step("R5");
  if (ledger.damaged && p.repair !== undefined) {
    await p.repair();
    ledger.damaged = false;
    step("R5.repaired");
  }
  for (const slot of taken) wipe(p, slot); // R6
  step("R6.wiped");
  ledger.writeHeader();
  ledger.publish();
  const next = createEpoch(p.name, nextOpen(old), p.mode, randomEpoch); // R7
  step("R7.created");
  ledger.resetReaders(next); // R6
  step("R6");
  const waiting = countWaiting(p);
  sweepEpochs(p.name, next);
  step("R7");
  ledger.epoch = next; // R8
  ledger.count(Header.recoveriesLow);
  step("R8");
  wakeOld(p.semaphores, waiting); // R9
}

// Taking a byte is the proof of its owner's death, and keeps newcomers off the slot until R8.
async function waitUntilEmpty(p: Participant, taken: number[], deadline: AcquireDeadline): Promise<void> {
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
    let inside = false;
    for (let slot = 0; slot < CAPACITY; slot++) {
      if (slot === p.slot || taken.includes(slot) || !p.ledger.isBusy(slot)) continue;
      if (!p.roster.tryClaim(slot)) inside ||= p.ledger.phase(slot) === Phase.inside;
      else if (p.ledger.isBusy(slot)) bury(p, slot, taken);
      else p.roster.release(slot);
    }
    step("R4");
    if (!inside) return;
    deadline.check();
    await deadline.sleep(pause);
  }
}

function bury(p: Participant, slot: number, taken: number[]): void {
  taken.push(slot);
  if (p.ledger.phase(slot) === Phase.inside && p.ledger.load(slot, Slot.kind) !== Kind.read) p.ledger.damaged = true;
}

function wipe(p: Participant, slot: number): void {
  for (const field of [Slot.ticket, Slot.pid, Slot.startLow, Slot.startHigh]) p.ledger.store(slot, field, 0);
  p.ledger.store(slot, Slot.phase, Phase.idle);
}

// A sleeper on the old epoch finds, once awake, that the epoch has moved. Best effort: each would notice at its slice's end.
function wakeOld(old: EpochSemaphores | null, waiting: number): void {
  if (old === null) return;
  for (let i = 0; i < waiting; i++) {
    old.queue.post();
    old.room.post();
  }
  step("R9");
}

function countWaiting(p: Participant): number {
  let waiting = 0;
  for (let slot = 0; slot < CAPACITY; slot++) {
    const phase = p.ledger.phase(slot);
    if (slot !== p.slot && (phase === Phase.want || phase === Phase.queued)) waiting++;
  }
  return waiting;
}

function isDead(p: Participant, slot: number): boolean {
  return slot !== p.slot && p.ledger.isBusy(slot) && !p.roster.isHeld(slot) && p.ledger.isBusy(slot);
}

function someoneInside(p: Participant): boolean {
  for (let slot = 0; slot < CAPACITY; slot++) if (slot !== p.slot && p.ledger.phase(slot) === Phase.inside) return true;
  return false;
}

// Changes whenever any participant has entered.
function progressOf(p: Participant): number {
  let sum = 0;
  for (let slot = 0; slot < CAPACITY; slot++) {
    const at = slotAt(slot);
    sum += p.ledger.counter(at + Slot.readsLow) + p.ledger.counter(at + Slot.writesLow);
  }
  return sum;
}

// They exist, and have no more tokens than there are.
function semaphoresAreSound(p: Participant, epoch: number): boolean {
  const own = p.semaphores?.epoch === epoch ? p.semaphores : null;
  const found = own ?? openEpoch(p.name, epoch);
  if (found === null) return false;
  const sound = found.queue.value <= 1 && found.room.value <= 1;
  if (own === null) closeEpoch(found);
  return sound;
}
