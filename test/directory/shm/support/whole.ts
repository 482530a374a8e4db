// Whether a table is whole, looked at from outside: every record on its chain, every other slot on the free list, once each.
import { HEADER, RECORD, RECORD_WORDS, STATE, STATE_MASK } from "../../../../lib/directory/shm/table-layout.ts";
import type { HeapTable } from "./heap-table.ts";

/** @throws Error that says what is not */
export function expectWhole({ words, geometry }: HeapTable): void {
  const at = (slot: number) => geometry.records + slot * RECORD_WORDS;
  const word = (index: number) => words[index] as number;
  const used = word(HEADER.highWater);
  const met = new Uint8Array(used);
  const meet = (link: number) => {
    const times = met[link - 1] as number;
    met[link - 1] = times + 1;
    return times;
  };
  for (let index = 0; index <= geometry.bucketMask; index++) {
    let link = word(geometry.buckets + index);
    while (link !== 0) {
      if (meet(link) !== 0) throw new Error(`slot ${link - 1} is on two chains`);
      if ((word(at(link - 1) + RECORD.hash) & geometry.bucketMask) !== index) throw new Error("on a foreign chain");
      if ((word(at(link - 1) + RECORD.sequence) & STATE_MASK) !== STATE.live)
        throw new Error("a dead record on a chain");
      link = word(at(link - 1) + RECORD.next);
    }
  }
  const live = met.reduce((sum, times) => sum + times, 0);
  if (word(HEADER.count) !== live) throw new Error(`counts ${word(HEADER.count)}, has ${live}`);
  for (let link = word(HEADER.freeHead); link !== 0; link = word(at(link - 1) + RECORD.next)) {
    if (meet(link) !== 0) throw new Error(`slot ${link - 1} is free twice, or live and free`);
    if ((word(at(link - 1) + RECORD.sequence) & STATE_MASK) !== STATE.free) throw new Error("in use on the free list");
  }
  if (met.some((times) => times === 0)) throw new Error("a slot below the high-water mark belongs to nobody");
}

/** Records in the longest chain. */
export function longestChain({ words, geometry }: HeapTable): number {
  let longest = 0;
  for (let index = 0; index <= geometry.bucketMask; index++) {
    let length = 0;
    let link = words[geometry.buckets + index] as number;
    for (; link !== 0; link = words[geometry.records + (link - 1) * RECORD_WORDS + RECORD.next] as number) length++;
    longest = Math.max(longest, length);
  }
  return longest;
}
