// JOIN, steps J1 to J3 of docs/LOCK.md: open or make the segment, finish what a dead creator began, take a place in the ledger.
// Synchronous, and never longer than NOT_READY_MS: a recovery under way does not keep anybody from joining.

import { native } from "../../native.ts";
import { LivenessLocks, sleepSync } from "../liveness-locks.ts";
import { NOT_READY_MS } from "../open-or-create.ts";
import { faultsOf, fdOf, type SharedMemory, wordsOf } from "../shared-memory.ts";
import { createEpoch, randomEpoch, sweepEpochs } from "./epoch.ts";
import { full, notALock, notReady, unlinked, wrongSize, wrongVersion } from "./errors.ts";
import { step } from "./failpoint.ts";
import { Ledger } from "./ledger.ts";
import {
  CAPACITY,
  Header,
  isOpen,
  Kind,
  LAYOUT_VERSION,
  MAGIC,
  Phase,
  READY,
  recoveryOf,
  SEGMENT_BYTES,
  Slot,
} from "./lock-layout.ts";
import { type Participant, type Repair, useEpoch } from "./participant.ts";

const POLL_MS = 1;
/** How long a joiner that finds every place taken waits for the gate, in milliseconds, to see whether a dead one has one. */
const FULL_GATE_MS = 100;
const PERMISSIONS = 0o777;

/** Takes part in the lock that `shm` holds, making it one if it is blank. Throws, closing nothing, when that cannot be. */
export function join(shm: SharedMemory, repair: Repair | undefined): Participant {
  if (shm.size !== SEGMENT_BYTES) throw wrongSize(shm.name, shm.size);
  const ledger = new Ledger(wordsOf(shm));
  const roster = new LivenessLocks(fdOf(shm), CAPACITY);
  const mode = native.fstat(roster.fd).mode & PERMISSIONS;
  makeReady(shm.name, ledger, roster, mode); // J1
  const slot = takeSlot(shm.name, ledger, roster); // J2, J3
  if (!roster.isLinked()) throw unlinked(shm.name);
  introduce(ledger, slot);
  step("J3");
  const participant: Participant = {
    name: shm.name,
    mode,
    ledger,
    roster,
    slot,
    repair,
    isTruncated: () => faultsOf(shm) > 0,
    semaphores: null,
    ticket: 0,
    noWaitersAt: Number.NaN,
    olderWaiter: { slot: -1, ticket: 0 },
    vain: new Map(),
  };
  // Now rather than at the first section: then the lock works on for this one even when its names are unlinked.
  if (isOpen(ledger.epoch)) useEpoch(participant, ledger.epoch);
  return participant;
}

// J1. The creator does this, or, if it died (or was overtaken), the next one to come.
function makeReady(name: string, ledger: Ledger, roster: LivenessLocks, mode: number): void {
  const deadline = performance.now() + NOT_READY_MS;
  while (!isReady(name, ledger)) {
    if (roster.tryGate()) {
      try {
        step("J1.gate");
        if (isReady(name, ledger)) return;
        if (roster.someoneElse() === -1) initialise(name, ledger, mode);
        else reclose(ledger);
        return;
      } finally {
        roster.releaseGate();
      }
    }
    if (performance.now() >= deadline) throw notReady(name, NOT_READY_MS);
    sleepSync(POLL_MS);
  }
}

/** @throws IpcError EINVAL for an object that is no lock, or a lock of another version */
export function isReady(name: string, ledger: Ledger): boolean {
  const [magic, version, ready] = [Header.magic, Header.version, Header.ready].map((at) =>
    Atomics.load(ledger.words, at),
  );
  if (magic === MAGIC && version === LAYOUT_VERSION) return ready === READY;
  if (magic === MAGIC && version !== 0) throw wrongVersion(name, version ?? 0);
  if (magic !== 0 && magic !== MAGIC) throw notALock(name, "it begins with other bytes");
  return false;
}

// Others take part, so somebody has wiped the header of a lock in use. Caller holds the gate: R3, and whoever enters next does the
// rest.
function reclose(ledger: Ledger): void {
  ledger.epoch = recoveryOf(ledger.epoch);
  ledger.writeHeader();
  ledger.publish();
}

// Caller holds the gate and is alone. Each store may be the last: the next one starts over.
function initialise(name: string, ledger: Ledger, mode: number): void {
  ledger.writeHeader();
  step("J1.header");
  sweepEpochs(name);
  const epoch = createEpoch(name, randomEpoch(), mode, randomEpoch);
  step("J1.semaphores");
  ledger.resetReaders(epoch);
  ledger.epoch = epoch;
  ledger.publish();
  step("J1.ready");
}

// J2: a slot that is idle and whose byte can be had. A dead one's slot is left to recovery, as long as there are others.
function takeSlot(name: string, ledger: Ledger, roster: LivenessLocks): number {
  const slot = roster.claimFirst((seat) => !ledger.isBusy(seat));
  step("J2");
  return slot !== -1 ? slot : takeDeadSlot(name, ledger, roster);
}

// J3: all that are left belong to the dead, or nobody. Does for one slot what a recoverer does for all, then leaves the epoch odd,
// as a recoverer would that died after R3: whoever enters next finishes it.
function takeDeadSlot(name: string, ledger: Ledger, roster: LivenessLocks): number {
  return roster.withGate(name, FULL_GATE_MS, () => {
    const slot = roster.claimFirst();
    if (slot === -1) throw full(name);
    if (!ledger.isBusy(slot)) return slot;
    ledger.epoch = recoveryOf(ledger.epoch); // R3
    step("J3.closed");
    if (ledger.phase(slot) === Phase.inside && ledger.load(slot, Slot.kind) !== Kind.read) ledger.damaged = true; // R5
    ledger.store(slot, Slot.phase, Phase.idle); // R6
    return slot;
  });
}

function introduce(ledger: Ledger, slot: number): void {
  const startTime = native.processStart(process.pid)?.startTime ?? 0;
  ledger.store(slot, Slot.ticket, 0);
  ledger.store(slot, Slot.pid, process.pid);
  ledger.store(slot, Slot.startLow, startTime | 0);
  ledger.store(slot, Slot.startHigh, Math.floor(startTime / 2 ** 32));
  ledger.noteSlotUsed(slot);
}
