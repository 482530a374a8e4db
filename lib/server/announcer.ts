// Pushes to connections that watch the directory: joins and leaves, of everybody or of those that a connection asked for.
import type { Endpoint } from "../base/endpoint.ts";
import { foldName } from "../base/names.ts";
import type { Directory, DirectoryEvent } from "../directory/directory.ts";
import { DirectoryError } from "../directory/directory-error.ts";
import { DirectoryEntry } from "../directory/entry.ts";
import { roomsOf } from "../directory/entry-index.ts";
import { writeEntry } from "../directory/entry-wire.ts";
import { ReplyWriter } from "../wire/resp-writer.ts";
import type { Connection } from "./connection.ts";
import { EVERYBODY, type InterestChange, InterestReport } from "./interest-report.ts";
import { MAX_INTERESTS } from "./limits.ts";

/** Ms between two writes of what becomes of everybody: at most ten a second for a connection, however many come and go. */
const EVERYBODY_MS = 100;

/** A name since the last write: its last event, the coming before it if that was in between, and whether it was off at first. */
interface Gathered {
  readonly wasOff: boolean;
  readonly came: DirectoryEvent | null;
  readonly event: DirectoryEvent;
}

export interface AnnouncerOptions {
  /** Clients on up to which a connection may watch everybody: each event costs a push for each of its watchers. */
  readonly watchLimit: number;
  /** Tells the primary what its events are wanted of; reported() is called when it knows. */
  readonly report: (change: InterestChange) => void;
}

export class Announcer {
  readonly #directory: Pick<Directory, "watch" | "count">;
  readonly #options: AnnouncerOptions;
  /** Of everybody. */
  readonly #watchers = new Set<Connection>();
  /** Folded names of clients that are not listed: their going is not told either. */
  readonly #unlisted = new Set<string>();
  /** By folded name or room. */
  readonly #interested = new Map<string, Set<Connection>>();
  readonly #report: InterestReport;
  readonly #out = new ReplyWriter(4096);
  /** While there are watchers of anything. */
  #subscription: Disposable | null = null;
  /** Events that came while others were pushed; null while none are. */
  #waiting: DirectoryEvent[] | null = null;
  /** For watchers of everybody: the last event of each name, by folded name, in the order of their times. */
  readonly #gathered = new Map<string, Gathered>();
  #gatherTimer: NodeJS.Timeout | null = null;
  #gatheredAt = Number.NEGATIVE_INFINITY;
  #pushes = 0;
  #coalesced = 0;
  #unwatched = 0;

  constructor(directory: Pick<Directory, "watch" | "count">, options: AnnouncerOptions) {
    this.#directory = directory;
    this.#options = options;
    this.#report = new InterestReport((interest) => this.#isWatched(interest), options.report);
  }

  /** Counters for INFO. */
  get stats(): AnnouncerStats {
    return {
      watchers: this.#watchers.size,
      interests: this.#interested.size,
      pushes: this.#pushes,
      coalesced: this.#coalesced,
      unwatched: this.#unwatched,
    };
  }

  /**
   * @param interests folded names and rooms; none: everybody
   * @returns fulfilled when every event from then on is pushed; undefined when that is so already
   * @throws DirectoryError `too-many`; nothing has changed then
   */
  watch(connection: Connection, interests: readonly string[] = []): Promise<void> | undefined {
    if (interests.length === 0) {
      const { watchLimit } = this.#options;
      if (this.#directory.count > watchLimit) {
        throw new DirectoryError(
          "too-many",
          `more than ${watchLimit} are on to watch everybody: WATCH names and #rooms`,
        );
      }
      connection.watching = true;
      this.#watchers.add(connection);
    } else {
      const all = new Set([...(connection.interests ?? []), ...interests]);
      if (all.size > MAX_INTERESTS) {
        throw new DirectoryError("too-many", `a connection watches at most ${MAX_INTERESTS} names and rooms`);
      }
      connection.interests = all;
      for (const interest of interests) this.#interest(interest, connection);
    }
    this.#subscribe();
    this.#report.note(interests.length === 0 ? [EVERYBODY] : interests);
    return this.#report.known();
  }

  /** The primary knows what it was told last. */
  reported(): void {
    this.#report.answered();
  }

  /** @param interests folded names and rooms; none: all that the connection watches, and everybody */
  unwatch(connection: Connection, interests: readonly string[] = []): void {
    if (interests.length === 0) {
      connection.watching = false;
      this.#watchers.delete(connection);
    }
    const { interests: watched } = connection;
    const ended = interests.length === 0 ? [...(watched ?? [])] : interests;
    if (watched !== null) {
      for (const interest of ended) if (watched.delete(interest)) this.#lose(interest, connection);
      if (watched.size === 0) connection.interests = null;
    }
    this.#subscribe();
    this.#report.note(interests.length === 0 ? [EVERYBODY, ...ended] : ended);
  }

  #isWatched(interest: string): boolean {
    return interest === EVERYBODY ? this.#watchers.size > 0 : this.#interested.has(interest);
  }

  #interest(interest: string, connection: Connection): void {
    const connections = this.#interested.get(interest);
    if (connections === undefined) this.#interested.set(interest, new Set([connection]));
    else connections.add(connection);
  }

  #lose(interest: string, connection: Connection): void {
    const connections = this.#interested.get(interest);
    connections?.delete(connection);
    if (connections?.size === 0) this.#interested.delete(interest);
  }

  /** Hears of the directory's events while there is anybody to tell. */
  #subscribe(): void {
    if (this.#watchers.size === 0) {
      this.#gathered.clear();
      if (this.#gatherTimer !== null) clearTimeout(this.#gatherTimer);
      this.#gatherTimer = null;
    }
    const isNeeded = this.#watchers.size > 0 || this.#interested.size > 0;
    if (isNeeded === (this.#subscription !== null)) return;
    this.#subscription?.[Symbol.dispose]();
    this.#subscription = isNeeded ? this.#directory.watch("everybody", (events) => this.#push(events)) : null;
  }

  /** A watcher that reads too slowly is cut, which is an event itself: it comes behind those that are being pushed. */
  #push(events: readonly DirectoryEvent[]): void {
    if (this.#waiting !== null) {
      this.#waiting.push(...events);
      return;
    }
    for (let next = events; next.length > 0; next = this.#waiting) {
      this.#waiting = [];
      if (this.#watchers.size > 0) this.#gather(next);
      if (this.#interested.size > 0) for (const event of next) this.#pushToInterested(event);
    }
    this.#waiting = null;
  }

  /** The first event after a pause leaves at once, those behind it together. */
  #gather(events: readonly DirectoryEvent[]): void {
    for (const event of events) {
      if (this.#isHidden(event)) continue;
      const folded = foldName(event.name);
      const before = this.#gathered.get(folded);
      if (before !== undefined) this.#coalesced++;
      this.#gathered.delete(folded); // to the end
      const isComing = before?.event.kind === "on" && event.kind === "changed";
      // A client that came and went in between: a watcher may have looked it up meanwhile, so both are announced.
      const came = before?.event.kind === "on" && event.kind === "off" && before.wasOff ? before.event : null;
      const wasOff = before === undefined ? event.kind === "on" : before.wasOff;
      this.#gathered.set(folded, { wasOff, came, event: isComing ? { ...event, kind: "on" } : event });
    }
    if (this.#gathered.size === 0 || this.#gatherTimer !== null) return;
    const waitMs = this.#gatheredAt + EVERYBODY_MS - performance.now();
    if (waitMs <= 0) this.#pushGathered();
    else this.#gatherTimer = setTimeout(() => this.#pushGathered(), Math.ceil(waitMs)).unref();
  }

  #pushGathered(): void {
    this.#gatherTimer = null;
    this.#gatheredAt = performance.now();
    const events = [...this.#gathered.values()].flatMap(({ came, event }) => (came === null ? [event] : [came, event]));
    this.#gathered.clear();
    const isTooMany = this.#directory.count > this.#options.watchLimit;
    const watchers = [...this.#watchers];
    if (isTooMany) {
      for (const connection of watchers) {
        connection.watching = false;
        this.#watchers.delete(connection);
      }
      this.#unwatched += watchers.length;
    }
    this.#pushTo(watchers, (out) => {
      for (const event of events) writePush(out, event);
      if (isTooMany) writeWords(out, "unwatched");
    });
    this.#subscribe();
    if (isTooMany) this.#report.note([EVERYBODY]);
  }

  /** Watchers of everybody get no events of clients that are not listed. */
  #isHidden(event: DirectoryEvent): boolean {
    const folded = foldName(event.name);
    if (event.kind === "off") return this.#unlisted.delete(folded);
    const isHidden = !new DirectoryEntry(event.entry).listed;
    if (isHidden) this.#unlisted.add(folded);
    else this.#unlisted.delete(folded);
    return isHidden;
  }

  #pushToInterested(event: DirectoryEvent): void {
    const watchers = this.#interested.get(foldName(event.name));
    if (watchers !== undefined) this.#pushTo(watchers, (out) => writePush(out, event));
    const entry = event.kind === "off" ? null : new DirectoryEntry(event.entry);
    for (const room of entry === null ? [] : roomsOf(entry)) {
      const inRoom = this.#interested.get(room);
      if (inRoom !== undefined) this.#pushTo(inRoom, (out) => writeRoomPush(out, room, event.name, entry));
    }
    for (const room of event.leftRooms ?? []) {
      const inRoom = this.#interested.get(room);
      if (inRoom !== undefined) this.#pushTo(inRoom, (out) => writeRoomPush(out, room, event.name, null));
    }
  }

  /** One write for each. */
  #pushTo(connections: Iterable<Connection>, write: (out: ReplyWriter) => void): void {
    write(this.#out);
    const bytes = Buffer.from(this.#out.bytes());
    this.#out.clear();
    for (const connection of connections) {
      this.#pushes++;
      connection.push(bytes);
    }
  }
}

/** What an announcer counts, since its worker started. */
export interface AnnouncerStats {
  /** Connections that watch everybody, and names and rooms that some connection watches. */
  readonly watchers: number;
  readonly interests: number;
  /** Writes of pushes, one for each connection. */
  readonly pushes: number;
  /** Events that no watcher of everybody heard, because a later one of the name came before they left. */
  readonly coalesced: number;
  /** Watches of everybody that ended because more than the bound were on. */
  readonly unwatched: number;
}

function writePush(out: ReplyWriter, event: DirectoryEvent): void {
  if (event.kind === "off") {
    out.push(2);
    out.bulk("left");
    out.bulk(event.name);
    return;
  }
  writeEntryPush(out, event.kind === "on" ? "joined" : "changed", new DirectoryEntry(event.entry));
}

/** @param entry of a client that is in the room now, null for one that is not (any more) */
function writeRoomPush(out: ReplyWriter, room: string, name: string, entry: DirectoryEntry | null): void {
  out.push(entry === null ? 4 : 5);
  out.bulk("room");
  out.bulk(room);
  out.bulk(entry === null ? "left" : "joined");
  out.bulk(name);
  if (entry !== null) writeEntry(out, entry, 3);
}

/** `call`: the client that is about to talk. */
export function callPush(from: DirectoryEntry): Buffer {
  const out = new ReplyWriter(512);
  writeEntryPush(out, "call", from);
  return out.bytes();
}

/** Kind, name, and the whole entry: a watcher needs no LOOKUP. */
function writeEntryPush(out: ReplyWriter, kind: "joined" | "changed" | "call", entry: DirectoryEntry): void {
  out.push(3);
  out.bulk(kind);
  out.bulk(entry.name);
  writeEntry(out, entry, 3);
}

/** `closing`: why the server is about to close the connection. */
export function closingPush(reason: string): Buffer {
  return pushOf("closing", reason);
}

/** `replaced`: another client of the same key has the name now. */
export function replacedPush(name: string): Buffer {
  return pushOf("replaced", name);
}

/** `removed`: an administrator has closed the connection; until when the client is banned, 0 if it is not. */
export function removedPush({ by, until }: { readonly by: string; readonly until: number | null }): Buffer {
  return pushOf("removed", by, String(until ?? 0));
}

/** `mail`: so many messages wait; TAKE gives them. */
export function mailPush(count: number): Buffer {
  return pushOf("mail", String(count));
}

/** `knock`: the holder of this key is about to send datagrams from one of these endpoints. */
export function knockPush(key: string, from: readonly Endpoint[]): Buffer {
  const out = new ReplyWriter(256);
  out.push(2 + 2 * from.length);
  out.bulk("knock");
  out.bulk(key);
  for (const { address, port } of from) {
    out.bulk(address);
    out.integer(port);
  }
  return out.bytes();
}

/** `relay`: a datagram from there, see commands/relay.ts. */
export function relayPush(from: string, datagram: Uint8Array): Buffer {
  const out = new ReplyWriter(64 + datagram.length);
  out.push(3);
  out.bulk("relay");
  out.bulk(from);
  out.bulkBytes(datagram);
  return out.bytes();
}

/** `probe`: say anything, PING for example. */
export function probePush(): Buffer {
  return pushOf("probe");
}

function pushOf(...words: readonly string[]): Buffer {
  const out = new ReplyWriter(64);
  writeWords(out, ...words);
  return out.bytes();
}

function writeWords(out: ReplyWriter, ...words: readonly string[]): void {
  out.push(words.length);
  for (const word of words) out.bulk(word);
}
