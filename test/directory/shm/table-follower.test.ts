// An index that follows the table's ring of changes, beside writers that are quicker than it, and that die.
import { expect, it } from "vitest";
import { packEntry } from "../../../lib/directory/entry.ts";
import type { ClientTable } from "../../../lib/directory/shm/client-table.ts";
import type { RowHandle } from "../../../lib/directory/shm/stored-entry.ts";
import { TableFollower } from "../../../lib/directory/shm/table-follower.ts";
import { HEADER } from "../../../lib/directory/shm/table-layout.ts";
import { claimIdOf, fieldsOf } from "../support/entries.ts";
import { HeapTable } from "./support/heap-table.ts";

const ROOM = "#ops";

/** A table in plain memory, as a follower sees it, and how often it had to be read as a whole. */
function stage(capacity: number) {
  const heap = new HeapTable(capacity);
  let walks = 0;
  const table = {
    get changes() {
      return heap.reader.changes;
    },
    get repairs() {
      return heap.reader.repairs;
    },
    get usedSlots() {
      return heap.reader.usedSlots;
    },
    changedSince: (from: number, to: number) => heap.reader.changedSince(from, to),
    at(slot: number) {
      if (slot === 0) walks++;
      return heap.reader.readSlot(slot, true) ? heap.reader.snapshot.stored(slot) : null;
    },
  };
  const follower = new TableFollower(table as unknown as ClientTable);
  const insert = (name: string, rooms: readonly string[] = [ROOM]): RowHandle =>
    heap.writer.insert({
      entry: packEntry({ ...fieldsOf(name), rooms }),
      claimId: claimIdOf(1),
      place: { worker: 1, connection: 1 },
    });
  const truth = () =>
    heap
      .all()
      .filter(({ entry }) => entry.rooms.includes(ROOM))
      .map(({ entry }) => entry.name)
      .sort();
  return { heap, follower, insert, truth, walked: () => walks };
}

it("reads on from where it was, and sees each change", () => {
  const { heap, follower, insert, truth, walked } = stage(8);
  expect(follower.index.members(ROOM)).toEqual([]);
  const ann = insert("ann");
  const bob = insert("bob");
  expect(follower.index.members(ROOM)).toEqual(["ann", "bob"]);
  heap.writer.remove(ann.slot, ann.version);
  const again = insert("carol"); // in ann's slot
  expect(again.slot).toBe(ann.slot);
  heap.writer.remove(bob.slot, bob.version);
  const elsewhere = insert("ann"); // in bob's
  expect(elsewhere.slot).toBe(bob.slot);
  expect(follower.index.members(ROOM)).toEqual(["ann", "carol"]);
  expect(follower.index.members(ROOM)).toEqual(truth());
  const walks = walked();
  follower.index.names("", 9);
  expect(walked()).toBe(walks); // nothing has changed: nothing is read
});

it("a name that has moved to another slot is there once, whichever slot is looked at first", () => {
  const { heap, follower, insert } = stage(8);
  const [a, b] = [insert("ann"), insert("bob")];
  expect(follower.index.names("", 9)).toEqual(["ann", "bob"]);
  heap.writer.remove(b.slot, b.version);
  heap.writer.remove(a.slot, a.version);
  insert("bob"); // the slot that was freed last
  insert("ann");
  expect(follower.index.names("", 9)).toEqual(["ann", "bob"]);
  expect(follower.index.members(ROOM)).toEqual(["ann", "bob"]);
});

it("reads everything again when the ring does not reach back to where it was", () => {
  const { heap, follower, insert, truth } = stage(4);
  insert("stays");
  expect(follower.index.members(ROOM)).toEqual(["stays"]);
  for (let i = 0; i < 2 * heap.geometry.noteCount; i++) {
    const { slot, version } = insert(`u${i}`);
    if (i < 2 * heap.geometry.noteCount - 2) heap.writer.remove(slot, version);
  }
  expect(follower.index.members(ROOM)).toEqual(truth());
  expect(follower.index.members(ROOM)).toHaveLength(3);
});

it("follows the count of changes over its end", () => {
  const { heap, follower, insert, truth } = stage(4);
  heap.words[HEADER.changes] = 2 ** 31 - 2;
  expect(follower.index.members(ROOM)).toEqual([]);
  for (let i = 0; i < 4; i++) {
    insert(`u${i}`);
    expect(follower.index.members(ROOM)).toEqual(truth());
  }
  expect(heap.words[HEADER.changes]).toBe(-(2 ** 31) + 2);
});

it("a writer that died before its note is seen after the repair", () => {
  const { heap, follower, insert, truth } = stage(8);
  const ann = insert("ann");
  expect(follower.index.members(ROOM)).toEqual(["ann"]);
  const before = heap.reader.changes;
  insert("bob");
  heap.writer.remove(ann.slot, ann.version);
  heap.words[HEADER.changes] = before; // as if it had died with both changes made, and neither noted
  expect(follower.index.members(ROOM)).toEqual(["ann"]);
  heap.repair();
  expect(follower.index.members(ROOM)).toEqual(["bob"]);
  expect(follower.index.members(ROOM)).toEqual(truth());
});

it("a hostile writer's notes lead nowhere", () => {
  const { heap, follower, insert, truth } = stage(4);
  insert("ann");
  expect(follower.index.members(ROOM)).toEqual(["ann"]);
  for (const note of [-1, 5, 2 ** 31 - 1, -(2 ** 31)]) {
    heap.words[heap.geometry.notes + (heap.reader.changes & (heap.geometry.noteCount - 1))] = note;
    heap.words[HEADER.changes] = heap.reader.changes + 1;
    expect(follower.index.members(ROOM)).toEqual(truth());
  }
  heap.words[HEADER.changes] = heap.reader.changes - 1000; // back
  expect(follower.index.members(ROOM)).toEqual(truth());
});
