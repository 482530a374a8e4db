// One instance's place in a lock: what it has open, and which slot is its own.

import type { LivenessLocks } from "../liveness-locks.ts";
import { closeEpoch, type EpochSemaphores, openEpoch } from "./epoch.ts";
import type { Ledger } from "./ledger.ts";
import { Phase, Slot } from "./lock-layout.ts";

/** Puts the guarded data in order after a writer died inside; runs alone, and must be idempotent: it may itself be killed. */
export type Repair = () => unknown;

export interface Participant {
  readonly name: string;
  /** Permission bits of the segment; an epoch's semaphores get the same. */
  readonly mode: number;
  readonly ledger: Ledger;
  readonly roster: LivenessLocks;
  /** The slot of the ledger and the seat of the roster that are ours. */
  readonly slot: number;
  readonly repair: Repair | undefined;
  /** Whether somebody has truncated the segment: its words are then no longer shared with anyone. */
  readonly isTruncated: () => boolean;
  /** The epoch being entered or held, with its semaphores; kept open from one section to the next. */
  semaphores: EpochSemaphores | null;
  /** Seniority while it sleeps; survives a change of epoch. 0: not sleeping. */
  ticket: number;
  /** The older waiter that the last pass through the queue gave way to. */
  olderWaiter: Elder;
  /** Nobody slept when the ledger's `tickets` had this value; NaN: not known. */
  noWaitersAt: number;
  /** By slot: the ticket that was given way to in vain, and until when (ms, monotonic) not to try again. */
  readonly vain: Map<number, { ticket: number; until: number }>;
}

export interface Elder {
  slot: number;
  ticket: number;
}

/** Makes `epoch` the participant's own. False when its semaphores do not exist. */
export function useEpoch(p: Participant, epoch: number): boolean {
  if (p.semaphores !== null) {
    if (p.semaphores.epoch === epoch) return true;
    closeEpoch(p.semaphores);
    p.semaphores = null;
  }
  p.semaphores = openEpoch(p.name, epoch);
  return p.semaphores !== null;
}

/** The semaphores of the epoch being entered. Caller is between E1 and L4. */
export function semaphoresOf(p: Participant): EpochSemaphores {
  if (p.semaphores === null) throw new Error("no epoch in use");
  return p.semaphores;
}

/** Whether the epoch that `p` entered under has been given up by a recoverer. */
export function hasMoved(p: Participant): boolean {
  return p.ledger.epoch !== semaphoresOf(p).epoch;
}

export function setPhase(p: Participant, phase: number): void {
  p.ledger.store(p.slot, Slot.phase, phase);
}

export function standDown(p: Participant): void {
  setPhase(p, Phase.idle);
}

/** Before it sleeps on the queue: whoever comes later gives way to `p`. */
export function showTicket(p: Participant): void {
  if (p.ticket === 0) p.ticket = p.ledger.takeTicket();
  p.ledger.store(p.slot, Slot.ticket, p.ticket);
  // After the store: whoever has seen that nobody sleeps looks again.
  p.ledger.takeTicket();
}

/** While it waits for an older waiter, `p` keeps its seniority, but cannot use a turn that others would give it. */
export function hideTicket(p: Participant): void {
  if (p.ticket === 0) p.ticket = p.ledger.takeTicket();
  p.ledger.store(p.slot, Slot.ticket, 0);
}

/** The wait is over: from now on `p` is as young as any newcomer. */
export function forgetTicket(p: Participant): void {
  if (p.ticket === 0) return;
  p.ticket = 0;
  p.ledger.store(p.slot, Slot.ticket, 0);
}
