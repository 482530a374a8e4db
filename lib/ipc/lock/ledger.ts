// The segment's words by name: every load and store of the protocol goes through here, in Atomics. No policy, no waiting.

import {
  CAPACITY,
  Header,
  isReadersOf,
  LAYOUT_VERSION,
  MAGIC,
  noReaders,
  Phase,
  READY,
  readersOf,
  Slot,
  slotAt,
} from "./lock-layout.ts";

export class Ledger {
  readonly words: Int32Array;

  constructor(words: Int32Array) {
    this.words = words;
  }

  get epoch(): number {
    return Atomics.load(this.words, Header.epoch);
  }
  /** Caller holds the gate. */
  set epoch(value: number) {
    Atomics.store(this.words, Header.epoch, value);
  }

  get damaged(): boolean {
    return Atomics.load(this.words, Header.damaged) !== 0;
  }
  /** Caller holds the gate. */
  set damaged(value: boolean) {
    Atomics.store(this.words, Header.damaged, value ? 1 : 0);
  }

  get gateHolder(): number {
    return Atomics.load(this.words, Header.gateHolder);
  }
  /** Caller holds the gate. */
  set gateHolder(pid: number) {
    Atomics.store(this.words, Header.gateHolder, pid);
  }

  get readers(): number {
    return Atomics.load(this.words, Header.readers);
  }

  /**
   * Adds `change` (1 or -1) to the number of readers of `epoch`. Returns the number before, or -1 when the word belongs to another
   * epoch (or holds garbage), in which case nothing is changed. Retries only when another participant's change came between.
   */
  changeReaders(epoch: number, change: 1 | -1): number {
    for (;;) {
      const word = this.readers;
      if (!isReadersOf(word, epoch)) return -1;
      const before = readersOf(word);
      if (before + change < 0) return -1;
      if (Atomics.compareExchange(this.words, Header.readers, word, word + change) === word) return before;
    }
  }

  /** A new seniority number, never 0. */
  takeTicket(): number {
    return (Atomics.add(this.words, Header.tickets, 1) + 1) | 0 || this.takeTicket();
  }

  /** Changes whenever someone begins to sleep. */
  get tickets(): number {
    return Atomics.load(this.words, Header.tickets);
  }

  /** How many slots a scan must look at. Garbage in the word makes the scan longer or shorter, never out of bounds. */
  get slotsUsed(): number {
    const used = Atomics.load(this.words, Header.slotsUsed);
    return used >= 0 && used <= CAPACITY ? used : CAPACITY;
  }
  noteSlotUsed(slot: number): void {
    for (let used = Atomics.load(this.words, Header.slotsUsed); used <= slot; ) {
      const seen = Atomics.compareExchange(this.words, Header.slotsUsed, used, slot + 1);
      if (seen === used) return;
      used = seen;
    }
  }

  load(slot: number, field: number): number {
    return Atomics.load(this.words, slotAt(slot) + field);
  }
  store(slot: number, field: number, value: number): void {
    Atomics.store(this.words, slotAt(slot) + field, value);
  }
  phase(slot: number): number {
    return Atomics.load(this.words, slotAt(slot) + Slot.phase);
  }

  /** A 64-bit counter kept in two words: `low` counts, `low + 1` carries. Only the slot's owner (or the gate's holder) writes it. */
  count(low: number): void {
    if (Atomics.add(this.words, low, 1) === -1) Atomics.add(this.words, low + 1, 1);
  }
  counter(low: number): number {
    return (Atomics.load(this.words, low + 1) >>> 0) * 2 ** 32 + (Atomics.load(this.words, low) >>> 0);
  }

  /** Whether the constants of the header are what every participant knows them to be. */
  get headerIsSound(): boolean {
    const w = this.words;
    return (
      Atomics.load(w, Header.magic) === MAGIC &&
      Atomics.load(w, Header.version) === LAYOUT_VERSION &&
      Atomics.load(w, Header.capacity) === CAPACITY &&
      Atomics.load(w, Header.ready) === READY
    );
  }
  /** Caller holds the gate. Does not publish: `ready` stays as it is. */
  writeHeader(): void {
    const w = this.words;
    Atomics.store(w, Header.magic, MAGIC);
    Atomics.store(w, Header.version, LAYOUT_VERSION);
    Atomics.store(w, Header.capacity, CAPACITY);
    let used = CAPACITY;
    while (used > 0 && this.load(used - 1, Slot.pid) === 0) used--;
    Atomics.store(w, Header.slotsUsed, used);
  }
  publish(): void {
    Atomics.store(this.words, Header.ready, READY);
  }

  /** Nobody inside, as of `epoch`. Caller holds the gate and has seen that no live participant is inside. */
  resetReaders(epoch: number): void {
    Atomics.store(this.words, Header.readers, noReaders(epoch));
  }

  /** Whether the slot shows someone between E1 and L4 (garbage counts as such). */
  isBusy(slot: number): boolean {
    return this.phase(slot) !== Phase.idle;
  }
}
