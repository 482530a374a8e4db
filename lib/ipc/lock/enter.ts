// ENTER, steps E1 to E9 of docs/LOCK.md, as far as they go without waiting. Every function returns where it stopped; what has to
// sleep is in wait.ts. An uncontended entry runs through here in about a microsecond.

import type { Semaphore } from "../semaphore.ts";
import { step } from "./failpoint.ts";
import { give, leave } from "./leave.ts";
import { isOpen, Kind, Phase, Slot, slotAt } from "./lock-layout.ts";
import {
  forgetTicket,
  hasMoved,
  hideTicket,
  type Participant,
  semaphoresOf,
  setPhase,
  standDown,
  useEpoch,
} from "./participant.ts";

/**
 * How often a semaphore is tried before sleeping on it: together about as long (30 us) as starting a wait takes, so that short
 * sections of another process cost no sleep, and a long one costs at most twice the sleep.
 */
const SPIN_TRIES = 400;
/** How often an older waiter's slot is looked at before sleeping until it moves: about as long. */
const SPIN_LOOKS = 1000;

export const At = {
  /** Entered: the section may run. */
  inside: 0,
  /** The epoch is closed, gone or not whole; the phase is IDLE. */
  moved: 1,
  /** In WANT, the queue is taken by someone. */
  queue: 2,
  /** In WANT, the queue was given back because `p.olderWaiter` sleeps for longer. */
  olderWaiter: 3,
  /** In QUEUED, with the queue (and counted, if a reader), the room is taken. */
  room: 4,
  /** The data is damaged and this participant can repair it; the phase is IDLE. */
  damaged: 5,
} as const;
export type At = (typeof At)[keyof typeof At];

/** E1 to E9. Caller's phase is IDLE. */
export function tryEnter(p: Participant, kind: Kind): At {
  const { ledger, slot } = p;
  const epoch = ledger.epoch;
  if (!isOpen(epoch) || !useEpoch(p, epoch)) return At.moved;
  ledger.store(slot, Slot.epoch, epoch);
  ledger.store(slot, Slot.kind, kind);
  setPhase(p, Phase.want);
  step("E1");
  if (hasMoved(p)) return movedOn(p); // E2
  step("E2");
  return spin(semaphoresOf(p).queue) ? queueTaken(p, kind) : At.queue; // E3
}

/** E4 to E9. Caller is in WANT and has the queue. */
export function queueTaken(p: Participant, kind: Kind): At {
  const { queue, room, epoch } = semaphoresOf(p);
  step("E3");
  while (findElder(p, epoch)) {
    hideTicket(p);
    give(queue); // E4
    step("E4");
    if (!olderWaiterMoves(p)) return At.olderWaiter;
    if (!spin(queue)) return At.queue;
  }
  setPhase(p, Phase.queued); // E5
  step("E5");
  if (kind === Kind.read) {
    const before = p.ledger.changeReaders(epoch, 1); // E6
    if (before === -1) return movedOn(p);
    step("E6.count");
    if (before > 0) return roomTaken(p, kind);
  }
  return spin(room) ? roomTaken(p, kind) : At.room; // E6
}

/** E7 to E9. Caller is in QUEUED and has the queue and (alone or with the other readers) the room. */
export function roomTaken(p: Participant, kind: Kind): At {
  step("E6");
  p.ledger.store(p.slot, Slot.since, Date.now() | 0);
  setPhase(p, Phase.inside); // E7
  step("E7");
  if (hasMoved(p)) return movedOn(p); // E8
  step("E8");
  forgetTicket(p);
  p.ledger.count(slotAt(p.slot) + (kind === Kind.read ? Slot.readsLow : Slot.writesLow));
  if (kind === Kind.read) {
    give(semaphoresOf(p).queue); // E9
    step("E9");
  }
  if (p.repair !== undefined && p.ledger.damaged) {
    leave(p, kind);
    return At.damaged;
  }
  return At.inside;
}

// Nothing of the old epoch is touched any more: its semaphores and its count died with it.
function movedOn(p: Participant): At {
  standDown(p);
  return At.moved;
}

export function spin(semaphore: Semaphore): boolean {
  for (let tries = 0; tries < SPIN_TRIES; tries++) if (semaphore.tryWait()) return true;
  return false;
}

/** Whether the older waiter has used its turn (or given up). */
export function olderWaiterMoved(p: Participant): boolean {
  const { slot, ticket } = p.olderWaiter;
  return p.ledger.phase(slot) !== Phase.want || p.ledger.load(slot, Slot.ticket) !== ticket;
}

function olderWaiterMoves(p: Participant): boolean {
  for (let looks = 0; looks < SPIN_LOOKS; looks++) if (olderWaiterMoved(p)) return true;
  return false;
}

// E4. The semaphore lets whoever is awake barge past those it has to wake, so the entrant itself looks for a sleeper that was
// there before it: the eldest of them. (Were it any older waiter, two that give up and come back could yield to each other for ever, and
// the eldest sleep on.) Nobody is passed over more than once by each of the others, except while it does not use its grace.
function findElder(p: Participant, epoch: number): boolean {
  const { ledger } = p;
  const { tickets } = ledger;
  if (tickets === p.noWaitersAt) return false;
  let quiet = true;
  let found = false;
  for (let slot = 0, used = ledger.slotsUsed; slot < used; slot++) {
    if (ledger.phase(slot) !== Phase.want || slot === p.slot) continue;
    const ticket = ledger.load(slot, Slot.ticket);
    if (ticket === 0) continue;
    quiet = false;
    if (ledger.load(slot, Slot.epoch) !== epoch || isYounger(p, ticket) || gaveUpRecently(p, slot, ticket)) continue;
    if (found && ((ticket - p.olderWaiter.ticket) | 0) > 0) continue;
    p.olderWaiter = { slot, ticket };
    found = true;
  }
  if (found) return true;
  // A process that sleeps from now on counts `tickets` up after showing its own.
  p.noWaitersAt = quiet ? tickets : Number.NaN;
  return false;
}

function isYounger(p: Participant, ticket: number): boolean {
  return p.ticket !== 0 && ((p.ticket - ticket) | 0) < 0;
}

function gaveUpRecently(p: Participant, slot: number, ticket: number): boolean {
  const vain = p.vain.get(slot);
  return vain !== undefined && vain.ticket === ticket && performance.now() < vain.until;
}
