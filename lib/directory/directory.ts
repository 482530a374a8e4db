// The directory: which clients are registered, and which key a name belongs to. One interface for all implementations: shared
// memory on one host (shm/), the memory of one process (memory-directory.ts), later an engine that many servers share. Its
// contract is the conformance suite, test/directory/conformance.ts. Nothing here knows of sockets or of the server's protocol.
//
// A write ends in one of three ways:
//   done      It resolves.
//   refused   It rejects with a DirectoryError. Nothing has changed.
//   unknown   It rejects with the DirectoryError `try-again`. The change may have happened, may happen later, or not at all.
// The caller repeats an unknown write with the same claim. A repetition of what has happened already succeeds, but does not tell
// again what the first attempt found: register() names no replaced registration, remove() returns false. Writes to one name
// through one directory take effect in the order of the calls (but for a bind() that finds the name bound already). So once a
// later one has an answer, an earlier one that was unknown changes nothing any more.

import type { Protocol, ReplyWriter } from "../wire/resp-writer.ts";
import type { DirectoryErrorCode, NameHolder } from "./directory-error.ts";
import type { DirectoryEntry, EntryFields, NewEntry, PackedEntry } from "./entry.ts";
import type { NameRight } from "./name-right.ts";

/** The connection of a client: its number within a worker of the server. Both are below 2^32. */
export interface ConnectionPlace {
  readonly worker: number;
  readonly connection: number;
}

/** In the place of a connection at another server. */
export const ELSEWHERE: ConnectionPlace = { worker: 2 ** 32 - 1, connection: 0 };

export const isElsewhere = ({ worker }: ConnectionPlace): boolean => worker === ELSEWHERE.worker;

/**
 * A registration. Only its holder changes or removes the row. Name and id say which row it is, so a caller that never got an
 * answer to its register() makes the claim itself. A directory may add fields of its own, to find the row faster.
 */
export interface Claim {
  /** As it was registered. */
  readonly name: string;
  /** 16 characters of base64, random: no other registration has it, see crypto/signed-statements.ts. */
  readonly id: string;
  /**
   * Of the row, when register() or update() returned. Each write of a row gives it a later version, and each row of a name has a
   * later version than the rows before it, see isLaterVersion().
   */
  readonly version: number;
}

export interface DirectoryRow {
  readonly entry: DirectoryEntry;
  readonly claimId: string;
  readonly version: number;
  readonly place: ConnectionPlace;
}

export interface DirectoryPage {
  /** Where the next page begins; 0 when this was the last one. */
  readonly cursor: number;
  readonly rows: readonly DirectoryRow[];
}

export interface RegisterRequest {
  readonly entry: NewEntry;
  readonly claimId: string;
  readonly place: ConnectionPlace;
  /** The claim id of the registration that this one continues: it may replace that row and no other. */
  readonly takeover: string | null;
  /** A person has asked for it: it may replace the row of any registration with the same key. */
  readonly replace: boolean;
  /** The owner of the name by the accounts of the host, and the caller. Default: no login, and no known caller. */
  readonly right?: NameRight;
}

/** The owner of a name, whether a client is registered under it or not. */
export interface NameBinding {
  readonly key: string;
  /** Of the key's holder, as the kernel or a MUNGE credential said when it last had the name; null if they did not. */
  readonly uid: number | null;
  /** It was a MUNGE credential. */
  readonly isMunge?: true;
  /** The login whose name it is; null for another name. */
  readonly login: string | null;
  /** Further keys that may have it, if there are any. */
  readonly also?: readonly string[];
  /** How the key follows those before it, if it does, see crypto/rotation.ts. */
  readonly chain?: string;
}

export interface Registered {
  readonly claim: Claim;
  /** The registration that this one has replaced; null if there was none, or if its worker is dead. */
  readonly replaced: { readonly place: ConnectionPlace; readonly claimId: string } | null;
}

/** What a registered client may change without registering anew. */
export type EntryChanges = Partial<Pick<EntryFields, "endpoints" | "status" | "rooms">>;

/**
 * What happened to one name. `on`: a client registered. `changed`: the same client, by its key and startedAt, has other fields or
 * has registered again. `off`: the row of this version is gone. A listener gets the events of one name in the order of their versions. It may get one twice, and a later one
 * may stand for earlier ones that it then does not get. The last event of a name tells what is true.
 */
export type DirectoryEvent = {
  readonly name: string;
  readonly version: number;
  /** Folded names of the rooms that the client was in before, without those that it is in now. Absent when there are none. */
  readonly leftRooms?: readonly string[];
} & ({ readonly kind: "on" | "changed"; readonly entry: PackedEntry } | { readonly kind: "off" });

/** All clients, or those of these names, and those that are in these rooms or leave them. */
export type Interest = "everybody" | { readonly names?: readonly string[]; readonly rooms?: readonly string[] };

/** LOOKUP replies that are kept ready, for directories that see at next to no cost whether an entry has changed. */
export interface ReplyCache {
  /**
   * Writes the reply to a LOOKUP of the name in `bytes[start..end)`.
   * @returns false when none is ready
   */
  writeIfFresh(bytes: Uint8Array, start: number, end: number, protocol: Protocol, out: ReplyWriter): boolean;
  /**
   * Gets the reply ready for the next time.
   * @returns false when no client of that name is registered, or its row is changing
   */
  store(bytes: Uint8Array, start: number, end: number, protocol: Protocol): boolean;
}

type Maybe<T> = T | Promise<T>;

/**
 * The directory as one worker of a server sees it. Names are compared folded (base/names.ts). Every rejection is a DirectoryError
 * but for faults of the system (a full disk, a damaged table) and for calls after close().
 */
export interface Directory {
  /** Registered clients. Approximate while others write. */
  readonly count: number;
  /** Clients that the directory has room for. */
  readonly capacity: number;
  /** Null where lookups are not worth a cache. */
  readonly replies: ReplyCache | null;

  /**
   * Registers a client. When it resolves, find() finds the row here. Find() of every other directory finds it too, or, for a
   * moment, the row that it has replaced; it does not say that the name is free. The name is bound to the key from then on (for
   * the bounds see name-ownership.ts). Decides by the rules of claim-rules.ts. With the claim id of the row that is there, it
   * succeeds and changes nothing.
   * @throws DirectoryError `bad-entry`, `bad-name`, `taken`, `reserved`, `full`, `too-many`, `try-again`
   */
  register(request: RegisterRequest): Maybe<Registered>;
  /**
   * Changes the row of this claim. lastLookupAt stays.
   * @throws DirectoryError `replaced` when the claim has no row (any more), `bad-entry`, `try-again`
   */
  update(claim: Claim, changes: EntryChanges): Maybe<Claim>;
  /** Never removes a row with another claim id. @returns false if the claim has no row (any more). @throws `try-again` */
  remove(claim: Claim): Maybe<boolean>;

  /**
   * The row under this name, null if there is none, and for a text that is no name. Synchronous where the table is local. Where
   * it is not, changes through other directories may show a moment later, but for what register() promises.
   * @throws DirectoryError `try-again` while the directory cannot know
   */
  find(name: string): Maybe<DirectoryRow | null>;
  /** The row of this claim, null if it has none (any more). @throws DirectoryError `try-again` */
  own(claim: Claim): Maybe<DirectoryRow | null>;
  /**
   * Some of the rows. A walk begins with cursor 0 and goes on with each cursor returned until that is 0. It meets a row that is
   * there from the first page to the last exactly once, also when the row is changed or replaced meanwhile. A page may be empty
   * before the last one.
   * @param limit 1 to {@link MAX_PAGE_ROWS}
   * @throws RangeError for another cursor than a whole number, or another limit
   */
  page(cursor: number, limit: number): Maybe<DirectoryPage>;

  /**
   * Rows whose clients are in this room, in the order of their folded names. Every update() that has resolved counts, here and, where
   * the table is local, everywhere. Rooms are compared as names are.
   * @throws DirectoryError `try-again`
   */
  members(room: string): Maybe<readonly DirectoryRow[]>;
  /**
   * The first names, as they were registered, that begin with this text when both are folded; in the order of the folded names. Those
   * of clients that do not want to be listed are not among them. As current as members().
   * @param limit 1 to MAX_NAMES (wire/commands.ts)
   * @throws RangeError for another limit; DirectoryError `try-again`
   */
  names(prefix: string, limit: number): Maybe<readonly string[]>;

  /** The key (base64) that a name is bound to, whether a client is registered under it or not; null if to none. @throws `try-again` */
  ownerOf(name: string): Maybe<string | null>;
  /** All that is remembered of the name, null if it has no binding. @throws `try-again` */
  bindingOf(name: string): Maybe<NameBinding | null>;
  /**
   * Binds the name to the key, or finds that it is bound to it. A key that has taken all names that it may have today is not
   * refused, but gets no further one: ownerOf() tells.
   * @throws DirectoryError `bad-name`, `bad-entry` (the key), `taken`, `reserved`, `full`, `try-again`
   */
  bind(name: string, key: string, right?: NameRight): Maybe<void>;
  /**
   * Forgets the owner of the name. A client that is registered under it stays; the next key to bind the name becomes the owner.
   * @returns whether it was bound
   * @throws DirectoryError `bad-name`, `try-again`
   */
  release(name: string): Maybe<boolean>;

  /** Calls back for every event of the interest from now on, with several events at once where they came together. */
  watch(interest: Interest, listener: (events: readonly DirectoryEvent[]) => void): Disposable;
  /** Notes when this client looked another one up. Never waits, never throws. @param at milliseconds since the epoch */
  lookedUp(claim: Claim, at: number): void;

  /** Takes events that the directories of other workers have published. Each worker's events come in order. */
  deliver(events: readonly DirectoryEvent[]): void;
  /** Workers that are alive; before the first call, none is. A client may replace a row of its key at any other worker. */
  setLiveWorkers(ids: Iterable<number>): void;
  /** Whether the connection is at a live worker. */
  isLive(place: ConnectionPlace): boolean;
  /** The host has made its shared objects anew, with what they held: changes go there once this is fulfilled. */
  reopen(config: DirectoryConfig): Maybe<void>;
  /** The host can make no changes now, or can again: see DirectoryConfig.hosted. */
  setAway?(isAway: boolean): void;
  /** Publishes what is not published yet, and ends. The rows stay. */
  close(): void;
}

/** Rows of one page, at most. */
export const MAX_PAGE_ROWS = 4096;

/** Plain data by which a worker process opens the directory that its primary hosts. */
export interface DirectoryConfig {
  /** "/ptalk-server-5518-1000.0123456789abcdef" */
  readonly table: string;
  readonly lock: string;
  /** File with the names and their keys. */
  readonly names: string;
  /** Names that the directory remembers with their keys, at most. */
  readonly nameLimit: number;
  readonly predecessor: Predecessor | null;
  /** The host makes the changes (hosted-directory.ts), and whether it cannot make any now; left out where the worker makes them. */
  readonly hosted?: { readonly isAway: boolean };
}

/** A server that has died in this one's place. */
export interface Predecessor {
  /** Its table. */
  readonly name: string;
  /** Until then the names in that table go to their keys only. Milliseconds since the epoch. */
  readonly heldUntil: number;
}

/** What a directory says to the log of its server. */
export interface DirectoryLog {
  warn(event: string, fields?: Readonly<Record<string, unknown>>): void;
}

export interface OpenOptions {
  readonly log: DirectoryLog;
  /** Takes what happened here, for the directories of the server's other workers. Called with several events at once. */
  readonly publish: (events: readonly DirectoryEvent[]) => void;
  /** Asks the host, where it makes the changes. Plain data. */
  readonly ask?: (request: HostRequest) => Promise<HostAnswer>;
}

/** The directory's side in the server's primary: it makes what the workers share, and removes it. */
export interface DirectoryHost {
  readonly count: number;
  readonly capacity: number;
  /** Null where other processes cannot open it. */
  readonly config: DirectoryConfig | null;
  /** For a worker in this very process. */
  open(options: OpenOptions): Directory;
  /** A worker has published these events. */
  observe(worker: number, events: readonly DirectoryEvent[]): void;
  /** A worker is dead. Publishes the events that it did not, and removes its rows once their grace is over. */
  workerDied(worker: number): void;
  /** Counters for INFO, flat. */
  stats(): Readonly<Record<string, number>>;
  /** Removes the shared objects. Programs that have them mapped can see it. */
  close(): Promise<void>;
  /** Of a directory that has one of its own, once it has started; left out where it is the server's. */
  readonly directoryId?: string;
  /** Resolves when clients may register, where that takes its time. @throws TalkError */
  start?(): Promise<void>;
  /** Where the client of a registration is at this server; null: not here. Of a directory that servers share. */
  placeOf?(name: string, claimId: string): ConnectionPlace | null;
  /** The other server that a client of this folded name is on at; null: none, or that cannot be told now. Of a directory that servers share. */
  serverOf?(folded: string): string | null;
  /** What the other servers that are alive say of themselves, by their names. */
  others?(): ReadonlyMap<string, Readonly<Record<string, unknown>>>;
  /** A worker asks; does not reject. Where the host makes the changes. */
  answer?(request: HostRequest): Promise<HostAnswer>;
}

/** What a worker asks of a host that makes the changes. */
export type HostRequest =
  | { readonly op: "register"; readonly request: RegisterRequest; readonly live: readonly number[] }
  | { readonly op: "update"; readonly claim: Claim; readonly changes: EntryChanges }
  | { readonly op: "remove"; readonly claim: Claim }
  | { readonly op: "bind"; readonly name: string; readonly key: string; readonly right?: NameRight | undefined }
  | { readonly op: "release"; readonly name: string }
  /** Brings the table up to date about a name that it does not have. */
  | { readonly op: "ask"; readonly name: string };

export type HostAnswer =
  | {
      readonly is: "done";
      readonly claim?: Claim;
      readonly replaced?: Registered["replaced"];
      /** There was something to remove, or to release. */
      readonly was?: boolean;
      /** For the watchers; null: none of them has to hear of it. */
      readonly event?: DirectoryEvent | null;
    }
  | {
      readonly is: "refused";
      readonly code: DirectoryErrorCode;
      readonly message: string;
      readonly holder: NameHolder | null;
      readonly isRefusal: boolean;
    };

export interface HostOptions {
  /** TCP port of the server, and the inode of the socket that listens there; 0: it is not one of this host's sockets. */
  readonly port: number;
  readonly listener: number;
  readonly predecessor: Predecessor | null;
  readonly capacity: number;
  /** Permission bits of what other users of the host may read. */
  readonly mode: number;
  /** File with the names and their keys; null: they go with the server. */
  readonly names: string | null;
  readonly nameLimit: number;
  readonly log: DirectoryLog;
  /** Takes events that no worker publishes: of a worker that died. */
  readonly onEvents: (events: readonly DirectoryEvent[]) => void;
  /** Everything of a dead worker is published, or its rows are removed. */
  readonly onSettled: () => void;
  /**
   * Another program has removed the shared objects, and the host has made them again. Fulfilled once every worker process has
   * reopened its directory or has ended.
   */
  readonly onRestored: () => Promise<void>;
  /** The client there has lost its row to a registration at another server. */
  readonly onReplaced?: (place: ConnectionPlace, claimId: string) => void;
  /** The host can make no changes now, or can again. */
  readonly onAway?: (isAway: boolean) => void;
}

/** Where a directory is that many servers share. */
export interface SharedAddress {
  /** etcd://HOST:PORT[,…]/PREFIX */
  readonly address: string;
  /** Paths of PEM files. */
  readonly ca: string | null;
  readonly certificate: string | null;
  readonly key: string | null;
  /** One word for all hosts whose uids mean the same people; empty: none is stated. */
  readonly realm: string;
}

/** What a server is among those that share a directory. */
export interface ServerIdentity {
  /** Its name. */
  readonly server: string;
  /** The id of its own directory: the shared one gets it, if this server is its first. */
  readonly directoryId: string;
  /** What the others may know of it. */
  readonly facts?: Readonly<Record<string, unknown>>;
}

export type HostMaker = (options: HostOptions & ServerIdentity) => DirectoryHost;
