// The part of ENTER that sleeps: for the queue (E3), for an elder to use its turn (E4), for the room (E6), for an epoch to open
// (E1). After each slice of a wait the sleeper looks around: has the epoch moved, has someone died, does nothing move at all?

import { At, begin, elderMoved, queueTaken, roomTaken, spin } from "./enter.ts";
import { Kind, Phase, Slot, slotAt } from "./layout.ts";
import { give } from "./leave.ts";
import { hasMoved, type Participant, semaphoresOf, setPhase, showTicket, standDown } from "./participant.ts";
import { EAGER_MS, nextTurn, type Patience } from "./patience.ts";
import { findReason, recover, StallWatch } from "./recover.ts";
import { step } from "./steps.ts";

/** How long an elder may take to wake up and take the queue that was given back for it, in milliseconds. */
const GRACE_MS = 10;
/** After a grace in vain (the elder is stopped, or starved of CPU) it gets no other for this long, in milliseconds. */
const YIELD_AGAIN_MS = 200;

/** Goes on from where `begin` stopped until INSIDE. Throws with the phase IDLE and nothing held. */
export async function enterPatiently(p: Participant, kind: Kind, from: At, patience: Patience): Promise<void> {
  p.ledger.count(slotAt(p.slot) + Slot.waitsLow);
  p.ledger.store(p.slot, Slot.since, Date.now() | 0);
  let at = from;
  try {
    while (at !== At.inside) {
      switch (at) {
        case At.moved:
          await settle(p, patience);
          at = begin(p, kind);
          break;
        case At.damaged:
          await recover(p, { what: "damaged" }, patience);
          patience.check();
          at = begin(p, kind);
          break;
        case At.queue:
          at = await awaitQueue(p, kind, patience);
          break;
        case At.elder:
          at = await awaitElder(p, kind, patience);
          break;
        case At.room:
          at = await awaitRoom(p, kind, patience);
          break;
      }
    }
  } finally {
    p.ticket = 0;
    p.ledger.store(p.slot, Slot.ticket, 0);
  }
}

// The phase is IDLE: mend whatever kept `begin` from using the epoch, unless it has been mended meanwhile.
async function settle(p: Participant, patience: Patience): Promise<void> {
  const reason = findReason(p);
  if (reason !== null) await recover(p, reason, patience);
  else patience.check();
}

// E3. The phase is WANT.
async function awaitQueue(p: Participant, kind: Kind, patience: Patience): Promise<At> {
  const { queue } = semaphoresOf(p);
  showTicket(p);
  const watch = new StallWatch(p);
  try {
    for (;;) {
      const got = (await patience.eager(queue)) || (await patience.slice(queue));
      if (hasMoved(p)) return movedOn(p);
      if (got) return queueTaken(p, kind);
      if (await lookAround(p, watch, patience)) return movedOn(p);
      patience.check();
    }
  } catch (error) {
    standDown(p);
    throw error;
  }
}

// E4. The phase is WANT, the queue has been given back.
async function awaitElder(p: Participant, kind: Kind, patience: Patience): Promise<At> {
  const { slot, ticket } = p.elder;
  const start = performance.now();
  try {
    while (!elderMoved(p)) {
      const waited = performance.now() - start;
      if (waited >= GRACE_MS) {
        p.vain.set(slot, { ticket, until: start + waited + YIELD_AGAIN_MS });
        if (await lookAround(p, null, patience)) return movedOn(p);
        break;
      }
      if (waited < EAGER_MS) await nextTurn();
      else await patience.sleep(1);
      if (hasMoved(p)) return movedOn(p);
      patience.check();
    }
    return spin(semaphoresOf(p).queue) ? queueTaken(p, kind) : At.queue;
  } catch (error) {
    standDown(p);
    throw error;
  }
}

// E6. The phase is QUEUED, the queue is ours; a reader is counted.
async function awaitRoom(p: Participant, kind: Kind, patience: Patience): Promise<At> {
  const { queue, room, epoch } = semaphoresOf(p);
  const watch = new StallWatch(p);
  try {
    for (;;) {
      const got = (await patience.eager(room)) || (await patience.slice(room));
      if (hasMoved(p)) return movedOn(p);
      if (got) return roomTaken(p, kind);
      if (await lookAround(p, watch, patience)) return movedOn(p);
      patience.check();
    }
  } catch (error) {
    if (kind === Kind.read) p.ledger.changeReaders(epoch, -1);
    step("E6.undo");
    give(queue);
    standDown(p);
    throw error;
  }
}

/** Recovers if there is a reason to. Returns whether the epoch has moved: what was held of it is void. */
async function lookAround(p: Participant, watch: StallWatch | null, patience: Patience): Promise<boolean> {
  const reason = findReason(p, watch);
  if (reason !== null) await recover(p, reason, patience);
  return hasMoved(p);
}

function movedOn(p: Participant): At {
  setPhase(p, Phase.idle);
  return At.moved;
}
