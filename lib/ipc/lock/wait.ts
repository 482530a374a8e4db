// The part of ENTER that sleeps: for the queue (E3), for an older waiter to use its turn (E4), for the room (E6), for an epoch to open
// (E1). After each slice of a wait the sleeper looks around: has the epoch moved, has someone died, does nothing move at all?

import { type AcquireDeadline, EAGER_MS, nextTurn } from "./acquire-deadline.ts";
import { At, olderWaiterMoved, queueTaken, roomTaken, spin, tryEnter } from "./enter.ts";
import { step } from "./failpoint.ts";
import { give } from "./leave.ts";
import { Kind, Phase, Slot, slotAt } from "./lock-layout.ts";
import { hasMoved, type Participant, semaphoresOf, setPhase, showTicket, standDown } from "./participant.ts";
import { findReason, recover, StallWatch } from "./recover.ts";

/** How long an older waiter may take to wake up and take the queue that was given back for it, in milliseconds. */
const GRACE_MS = 10;
/** After a grace in vain (the older waiter is stopped, or starved of CPU) it gets no other for this long, in milliseconds. */
const YIELD_AGAIN_MS = 200;

/** Goes on from where `tryEnter` stopped until INSIDE. Throws with the phase IDLE and nothing held. */
export async function enterBefore(p: Participant, kind: Kind, from: At, deadline: AcquireDeadline): Promise<void> {
  p.ledger.count(slotAt(p.slot) + Slot.waitsLow);
  p.ledger.store(p.slot, Slot.since, Date.now() | 0);
  let at = from;
  try {
    while (at !== At.inside) {
      switch (at) {
        case At.moved:
          await settle(p, deadline);
          at = tryEnter(p, kind);
          break;
        case At.damaged:
          await recover(p, { what: "damaged" }, deadline);
          deadline.check();
          at = tryEnter(p, kind);
          break;
        case At.queue:
          at = await awaitQueue(p, kind, deadline);
          break;
        case At.olderWaiter:
          at = await awaitOlderWaiter(p, kind, deadline);
          break;
        case At.room:
          at = await awaitRoom(p, kind, deadline);
          break;
      }
    }
  } finally {
    p.ticket = 0;
    p.ledger.store(p.slot, Slot.ticket, 0);
  }
}

// The phase is IDLE: mend whatever kept `tryEnter` from using the epoch, unless it has been mended meanwhile.
async function settle(p: Participant, deadline: AcquireDeadline): Promise<void> {
  const reason = findReason(p);
  if (reason !== null) await recover(p, reason, deadline);
  else deadline.check();
}

// E3. The phase is WANT.
async function awaitQueue(p: Participant, kind: Kind, deadline: AcquireDeadline): Promise<At> {
  const { queue } = semaphoresOf(p);
  showTicket(p);
  const watch = new StallWatch(p);
  try {
    for (;;) {
      const got = (await deadline.eager(queue)) || (await deadline.slice(queue));
      if (hasMoved(p)) return movedOn(p);
      if (got) return queueTaken(p, kind);
      if (await lookAround(p, watch, deadline)) return movedOn(p);
      deadline.check();
    }
  } catch (error) {
    standDown(p);
    throw error;
  }
}

// E4. The phase is WANT, the queue has been given back.
async function awaitOlderWaiter(p: Participant, kind: Kind, deadline: AcquireDeadline): Promise<At> {
  const { slot, ticket } = p.olderWaiter;
  const start = performance.now();
  try {
    while (!olderWaiterMoved(p)) {
      const waited = performance.now() - start;
      if (waited >= GRACE_MS) {
        p.vain.set(slot, { ticket, until: start + waited + YIELD_AGAIN_MS });
        if (await lookAround(p, null, deadline)) return movedOn(p);
        break;
      }
      if (waited < EAGER_MS) await nextTurn();
      else await deadline.sleep(1);
      if (hasMoved(p)) return movedOn(p);
      deadline.check();
    }
    return spin(semaphoresOf(p).queue) ? queueTaken(p, kind) : At.queue;
  } catch (error) {
    standDown(p);
    throw error;
  }
}

// E6. The phase is QUEUED, the queue is ours; a reader is counted.
async function awaitRoom(p: Participant, kind: Kind, deadline: AcquireDeadline): Promise<At> {
  const { queue, room, epoch } = semaphoresOf(p);
  const watch = new StallWatch(p);
  try {
    for (;;) {
      const got = (await deadline.eager(room)) || (await deadline.slice(room));
      if (hasMoved(p)) return movedOn(p);
      if (got) return roomTaken(p, kind);
      if (await lookAround(p, watch, deadline)) return movedOn(p);
      deadline.check();
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
async function lookAround(p: Participant, watch: StallWatch | null, deadline: AcquireDeadline): Promise<boolean> {
  const reason = findReason(p, watch);
  if (reason !== null) await recover(p, reason, deadline);
  return hasMoved(p);
}

function movedOn(p: Participant): At {
  setPhase(p, Phase.idle);
  return At.moved;
}
