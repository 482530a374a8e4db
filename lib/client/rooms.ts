// The rooms that this client is in, and the members of each, as the server has announced them. Owns these lists. Sends
// nothing; a sender to a room asks for its members here, so it never writes to a member that the program does not know.
//
//  1. join(): asks the server to announce the room's changes, to add this client, and for the other members.
//  2. onPush(): somebody has come, changed or gone.
//  3. resync(), after the connection was lost: asks for the current members. A server that has restarted knows no
//     client at first: members that are missing have time until its clients are back.
import { TalkError } from "../base/errors.ts";
import { foldName } from "../base/names.ts";
import { type DirectoryEntry, MAX_ENTRY_ROOMS } from "../directory/entry.ts";
import type { RoomEvent } from "./types.ts";

/** What the rooms need of the session with the server, see there. */
export interface RoomSource {
  readonly settlingMs: number;
  enterRoom(room: string): Promise<readonly DirectoryEntry[]>;
  leaveRoom(room: string): Promise<void>;
  members(room: string): Promise<readonly DirectoryEntry[]>;
}

/** The server says that somebody is in a room, with this entry, or is not (any more). */
export interface RoomPush {
  readonly room: string;
  readonly name: string;
  readonly entry: DirectoryEntry | null;
}

export interface RoomsParts {
  /** Our own. */
  readonly name: string;
  readonly source: RoomSource;
  readonly onEvent: (event: RoomEvent) => void;
}

/** The others, by folded name. */
type Members = Map<string, DirectoryEntry>;

export class Rooms {
  readonly #parts: RoomsParts;
  /** By folded name of the room. */
  readonly #rooms = new Map<string, Members>();
  /** Rooms that are being entered: announcements that come meanwhile count. */
  readonly #entering = new Map<string, Members>();
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: RoomsParts) {
    this.#parts = parts;
  }

  /** Folded names. */
  get names(): string[] {
    return [...this.#rooms.keys()];
  }

  has(room: string): boolean {
    return this.#rooms.has(room);
  }

  /** The others in a room that we are in, by their folded names; null for one that we are not in. */
  othersIn(room: string): readonly DirectoryEntry[] | null {
    const members = this.#rooms.get(room);
    return members === undefined ? null : inOrder(members.values());
  }

  /** @returns the others. @throws TalkError too-many, unreachable; usage for a client that is not on */
  async join(room: string): Promise<readonly DirectoryEntry[]> {
    const known = this.othersIn(room);
    if (known !== null) return known;
    if (this.#rooms.size + this.#entering.size >= MAX_ENTRY_ROOMS) {
      throw new TalkError("too-many", `a program is in at most ${MAX_ENTRY_ROOMS} rooms: leave one first`);
    }
    const told: Members = this.#entering.get(room) ?? new Map();
    this.#entering.set(room, told);
    try {
      const found = this.#othersOf(await this.#parts.source.enterRoom(room));
      for (const [name, entry] of told) found.set(name, entry);
      const isNew = !this.#rooms.has(room);
      this.#rooms.set(room, found);
      if (isNew) this.#tell(room, "joined", this.#parts.name);
    } finally {
      this.#entering.delete(room);
    }
    return this.othersIn(room) ?? [];
  }

  /** @throws TalkError usage for a room that we are not in; unreachable */
  async part(room: string): Promise<void> {
    if (!this.#rooms.has(room)) throw TalkError.usage(`you are not in ${room}`);
    this.#rooms.delete(room);
    this.#parts.onEvent({ room, state: "left", name: this.#parts.name, members: 0 });
    await this.#parts.source.leaveRoom(room);
  }

  onPush({ room, name, entry }: RoomPush): void {
    const folded = foldName(name);
    if (folded === foldName(this.#parts.name)) return;
    const entering = this.#entering.get(room);
    if (entry === null) entering?.delete(folded);
    else entering?.set(folded, entry);
    const members = this.#rooms.get(room);
    if (members !== undefined) this.#update(room, members, name, entry);
  }

  /** The connection is back: asks for the current members of the rooms. */
  async resync(): Promise<void> {
    clearTimeout(this.#timer);
    const { source } = this.#parts;
    const { settlingMs } = source;
    await Promise.all([...this.#rooms].map(([room, members]) => this.#resync(room, members, settlingMs > 0)));
    if (settlingMs > 0 && this.#rooms.size > 0) {
      this.#timer = setTimeout(() => this.resync().catch(() => {}), Math.ceil(settlingMs)).unref();
    }
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  async #resync(room: string, members: Members, isSettling: boolean): Promise<void> {
    const now = this.#othersOf(await this.#parts.source.members(room));
    if (this.#rooms.get(room) !== members) return;
    for (const entry of now.values()) this.#update(room, members, entry.name, entry);
    if (isSettling) return;
    for (const [folded, { name }] of members) if (!now.has(folded)) this.#update(room, members, name, null);
  }

  #update(room: string, members: Members, name: string, entry: DirectoryEntry | null): void {
    const folded = foldName(name);
    const isThere = members.has(folded);
    if (entry === null) members.delete(folded);
    else members.set(folded, entry);
    if (isThere !== (entry !== null)) this.#tell(room, entry === null ? "left" : "joined", name);
  }

  #tell(room: string, state: RoomEvent["state"], name: string): void {
    const others = this.#rooms.get(room)?.size ?? 0;
    this.#parts.onEvent({ room, state, name, members: others + 1 });
  }

  #othersOf(entries: readonly DirectoryEntry[]): Members {
    const own = foldName(this.#parts.name);
    return new Map(entries.map((entry) => [foldName(entry.name), entry] as const).filter(([name]) => name !== own));
  }
}

function inOrder(entries: Iterable<DirectoryEntry>): DirectoryEntry[] {
  return [...entries].sort((a, b) => (foldName(a.name) < foldName(b.name) ? -1 : 1));
}
