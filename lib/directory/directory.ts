// The directory: who is registered, and which key a name belongs to. One interface, whatever stands behind it: shared memory on
// one host (shm/), the memory of one process (memory-directory.ts), later an engine that many servers share. Its contract is the
// conformance suite, test/directory/conformance.ts. Nothing here knows of sockets, or of the lookup server's protocol.
//
// A write ends in one of three ways: done; refused with a DirectoryError; or unknown, with the DirectoryError `try-again`: then the
// change may or may not have happened, and nothing may be assumed. Every write can be repeated after that with the same claim
// id: a repetition of what has happened already succeeds.

import type { Protocol, ReplyWriter } from "../wire/resp-writer.ts";
import type { DirectoryEntry, EntryFields, NewEntry, PackedEntry } from "./entry.ts";

/** Which connection of which worker a client is at, within one server. */
export interface ConnectionPlace {
  readonly worker: number;
  readonly connection: number;
}

/** A registration: only its holder may change or remove the row. */
export interface Claim {
  /** As it was registered. */
  readonly name: string;
  /** Random, see crypto/signed-statements.ts. No other registration, of the same key either, has it. */
  readonly id: string;
  /** Of two registrations of one name, the later one has the later version, see isLaterVersion(). */
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
  /** The claim id of the registration that this one continues; it replaces that row and no other. */
  readonly takeover: string | null;
  /** Replace the row of another registration of the same key, whichever it is: a person has asked for it. */
  readonly replace: boolean;
}

export interface Registered {
  readonly claim: Claim;
  /** Where the registration was that this one has replaced; null if there was none, or its worker has died. */
  readonly replaced: { readonly place: ConnectionPlace; readonly claimId: string } | null;
}

/** What a registered client may change without registering anew. */
export type EntryChanges = Partial<Pick<EntryFields, "endpoints" | "status" | "rooms">>;

/**
 * What happened to one name. `on`: registered. `changed`: the same client, other fields. `off`: gone. The events of one name
 * come in the order of their versions; a later one may stand for those that it overtakes.
 */
export type DirectoryEvent =
  | { readonly kind: "on" | "changed"; readonly name: string; readonly version: number; readonly entry: PackedEntry }
  | { readonly kind: "off"; readonly name: string; readonly version: number };

/** Everybody, or these names. */
export type Interest = "everybody" | { readonly names: readonly string[] };

/** LOOKUP replies that are kept ready, where it costs next to nothing to see that nothing has changed. */
export interface ReplyCache {
  /**
   * Writes the reply to a LOOKUP of the name in `bytes[start..end)`.
   * @returns false when none is ready
   */
  writeIfFresh(bytes: Uint8Array, start: number, end: number, protocol: Protocol, out: ReplyWriter): boolean;
  /**
   * Gets the reply ready for the next time.
   * @returns false when nobody of that name is registered
   */
  store(bytes: Uint8Array, start: number, end: number, protocol: Protocol): boolean;
}

type Maybe<T> = T | Promise<T>;

/**
 * The directory as one worker of a server sees it. Names are compared folded (base/names.ts). Every rejection is a DirectoryError,
 * but for faults of the system.
 */
export interface Directory {
  /** Clients that are registered. */
  readonly count: number;
  /** Clients that there is room for. */
  readonly capacity: number;
  /** Null where lookups are not worth a cache. */
  readonly replies: ReplyCache | null;

  /**
   * Registers a client. When it resolves, every reader of this directory finds it. The name is bound to the key from then on.
   * Again with the same claim id, it succeeds and changes nothing.
   * @throws DirectoryError `bad-entry`, `bad-name`, `taken`, `full`, `too-many`, `try-again`
   */
  register(request: RegisterRequest): Maybe<Registered>;
  /** @throws DirectoryError `replaced` when another registration holds the name now, or none; `bad-entry`, `try-again` */
  update(claim: Claim, changes: EntryChanges): Maybe<Claim>;
  /** Never removes a row with another claim id. @returns false if the row is not the claim's (any more). @throws `try-again` */
  remove(claim: Claim): Maybe<boolean>;

  /** Synchronous where the table is local. @throws DirectoryError `try-again` while nobody can know */
  find(name: string): Maybe<DirectoryRow | null>;
  /** The row of this claim, null if it is another's by now. */
  own(claim: Claim): Maybe<DirectoryRow | null>;
  /**
   * Some of the rows: begin with cursor 0, go on with the cursor returned until it is 0. A row that is there from the first page
   * to the last is met exactly once. @param limit 1 to {@link MAX_PAGE_ROWS}
   */
  page(cursor: number, limit: number): Maybe<DirectoryPage>;

  /** The key (base64) that a name belongs to, registered at the moment or not; null if to none. @throws `try-again` */
  ownerOf(name: string): Maybe<string | null>;
  /** Binds the name to the key, or finds that it is. @throws DirectoryError `bad-name`, `taken`, `full`, `try-again` */
  bind(name: string, key: string): Maybe<void>;

  /** Calls back for every event of the interest from now on, several at once where they came together. */
  watch(interest: Interest, listener: (events: readonly DirectoryEvent[]) => void): Disposable;
  /** Notes when this client looked somebody up. Never waits, never throws. @param at milliseconds since the epoch */
  lookedUp(claim: Claim, at: number): void;

  /** Events of other workers of this server, as their directories published them. */
  deliver(events: readonly DirectoryEvent[]): void;
  /** Workers that are alive: rows of others wait for their client's return. */
  setLiveWorkers(ids: Iterable<number>): void;
  /** Whether the connection is at a live worker. */
  isLive(place: ConnectionPlace): boolean;
  close(): void;
}

/** Rows of one page at most. */
export const MAX_PAGE_ROWS = 4096;

/** Plain data by which a worker process opens the directory that its primary hosts. */
export interface DirectoryConfig {
  /** "/ptalk-server-5518" */
  readonly table: string;
  readonly lock: string;
  /** File with the names and their keys. */
  readonly names: string;
  /** Names that are remembered with their keys, registered at the moment or not. */
  readonly nameLimit: number;
}

/** What a directory says to the log of its server. */
export interface DirectoryLog {
  warn(event: string, fields?: Readonly<Record<string, unknown>>): void;
}

export interface OpenOptions {
  readonly log: DirectoryLog;
  /** What happened here, for the directories of the server's other workers. Called at most once a turn of the event loop. */
  readonly publish: (events: readonly DirectoryEvent[]) => void;
}

/** The directory's other side, in the server's primary: it makes what the workers share, and takes it away. */
export interface DirectoryHost {
  readonly count: number;
  readonly capacity: number;
  /** Null where other processes cannot open it. */
  readonly config: DirectoryConfig | null;
  /** For a worker in this very process. */
  open(options: OpenOptions): Directory;
  /** A worker has published these events. */
  observe(worker: number, events: readonly DirectoryEvent[]): void;
  /** A worker is dead: publishes what it did not, and removes its rows once their grace is over. */
  workerDied(worker: number): void;
  /** Counters for INFO, flat. */
  stats(): Readonly<Record<string, number>>;
  /** Takes the shared objects away; their users notice. */
  close(): Promise<void>;
}

export interface HostOptions {
  readonly capacity: number;
  /** Permission bits of what other users of the host may read. */
  readonly mode: number;
  /** File with the names and their keys. */
  readonly names: string;
  readonly nameLimit: number;
  readonly log: DirectoryLog;
  /** Events that no worker has published: of one that died. */
  readonly onEvents: (events: readonly DirectoryEvent[]) => void;
  /** Everything of a dead worker is published, or removed. */
  readonly onSettled: () => void;
}

/** A host's place, before there is a host: it keeps a second server away. */
export interface HostReservation {
  create(options: HostOptions): DirectoryHost;
  release(): void;
}
