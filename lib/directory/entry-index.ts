// Queries over all entries: the names that begin with a text, and the members of a room. One index for all
// implementations. Names and rooms are folded here; a client that does not want to be listed has no name here, but its rooms show it.
import { foldName, foldRoom } from "../base/names.ts";
import type { DirectoryEntry } from "./entry.ts";

/** Names of one run, at most; a longer one is cut in two. An insertion moves half of them, a search passes a few bytes of each run. */
const RUN_NAMES = 512;

/** Names in the order of their UTF-16 code units: those that begin alike stand together. */
export class SortedNames {
  /** None is empty. */
  readonly #runs: string[][] = [];

  add(name: string): void {
    const run = this.#runs[this.#runOf(name)];
    if (run === undefined) {
      this.#runs.push([name]);
      return;
    }
    const at = placeIn(run, name);
    if (run[at] === name) return;
    run.splice(at, 0, name);
    if (run.length > RUN_NAMES) this.#runs.splice(this.#runs.indexOf(run) + 1, 0, run.splice(RUN_NAMES / 2));
  }

  delete(name: string): void {
    const index = this.#runOf(name);
    const run = this.#runs[index];
    if (run === undefined) return;
    const at = placeIn(run, name);
    if (run[at] !== name) return;
    run.splice(at, 1);
    if (run.length === 0) this.#runs.splice(index, 1);
  }

  /** The first names that begin with the text, `limit` at most. */
  beginningWith(prefix: string, limit: number): string[] {
    const found: string[] = [];
    for (let index = this.#runOf(prefix); index < this.#runs.length; index++) {
      const run = this.#runs[index] as string[];
      for (let at = placeIn(run, prefix); at < run.length; at++) {
        const name = run[at] as string;
        if (found.length === limit || !name.startsWith(prefix)) return found;
        found.push(name);
      }
    }
    return found;
  }

  /** The run that a name belongs to: the last one that does not begin behind it, or the first. */
  #runOf(name: string): number {
    let [low, high] = [0, this.#runs.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#runs[middle]?.[0] as string) <= name) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }
}

/** The first place in a run whose name is not before this one. */
function placeIn(run: readonly string[], name: string): number {
  let [low, high] = [0, run.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((run[middle] as string) < name) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The rooms of an entry, folded, each once. */
export function roomsOf({ rooms }: Pick<DirectoryEntry, "rooms">): readonly string[] {
  return rooms.length === 0 ? rooms : [...new Set(rooms.map(foldRoom))];
}

/** What an event says of the rooms that a client was in, and is not in any more. */
export function leftRooms(
  before: Pick<DirectoryEntry, "rooms"> | null,
  after: Pick<DirectoryEntry, "rooms"> | null,
): { readonly leftRooms?: readonly string[] } {
  if (before === null || before.rooms.length === 0) return {};
  const now = after === null ? [] : roomsOf(after);
  const left = roomsOf(before).filter((room) => !now.includes(room));
  return left.length === 0 ? {} : { leftRooms: left };
}

interface Indexed {
  readonly isListed: boolean;
  readonly rooms: readonly string[];
}

export class EntryIndex {
  readonly #entries = new Map<string, Indexed>();
  readonly #listed = new SortedNames();
  /** By folded room: the folded names of its members. */
  readonly #members = new Map<string, Set<string>>();

  /** The entry under this folded name is this one from now on. */
  set(folded: string, entry: Pick<DirectoryEntry, "rooms" | "listed">): void {
    const before = this.#entries.get(folded);
    const rooms = roomsOf(entry);
    this.#entries.set(folded, { isListed: entry.listed, rooms });
    if (entry.listed) this.#listed.add(folded);
    else if (before?.isListed) this.#listed.delete(folded);
    for (const room of before?.rooms ?? []) if (!rooms.includes(room)) this.#leave(room, folded);
    for (const room of rooms) {
      const members = this.#members.get(room);
      if (members === undefined) this.#members.set(room, new Set([folded]));
      else members.add(folded);
    }
  }

  delete(folded: string): void {
    const before = this.#entries.get(folded);
    if (before === undefined) return;
    this.#entries.delete(folded);
    if (before.isListed) this.#listed.delete(folded);
    for (const room of before.rooms) this.#leave(room, folded);
  }

  /** Folded names, in order. */
  members(room: string): string[] {
    return [...(this.#members.get(foldRoom(room)) ?? [])].sort();
  }

  /** Folded names, in order. */
  names(prefix: string, limit: number): string[] {
    return this.#listed.beginningWith(foldName(prefix), limit);
  }

  #leave(room: string, folded: string): void {
    const members = this.#members.get(room);
    members?.delete(folded);
    if (members?.size === 0) this.#members.delete(room);
  }
}
