// What the primary and its workers tell each other. Plain data: it crosses a process boundary as JSON.
import type { Endpoint } from "../base/endpoint.ts";
import type {
  ConnectionPlace,
  DirectoryConfig,
  DirectoryEvent,
  HostAnswer,
  HostRequest,
} from "../directory/directory.ts";
import type { PackedEntry } from "../directory/entry.ts";
import type { NameRight } from "../directory/name-right.ts";
import type { NewLeft } from "../store/mailbox.ts";
import type { AdminRequest } from "../wire/admin.ts";
import type { Ban } from "./bans.ts";
import type { InterestChange } from "./interest-report.ts";
import type { Limits } from "./limits.ts";
import type { NameQuestion } from "./name-rights.ts";
import type { Origin } from "./origin.ts";

/** "host": the server listens on loopback, so all of its clients are on this host. "network": other hosts can reach it. */
export type ServerScope = "host" | "network";

/** What a worker needs to begin. */
export interface WorkerConfig {
  /** Of the worker. Never used twice by one server. */
  readonly id: number;
  /** By which a worker process opens the directory; null where it is opened in the primary. */
  readonly directory: DirectoryConfig | null;
  /** Of this server, among those that share its directory; empty where it has one of its own. */
  readonly serverName: string;
  readonly limits: Limits;
  readonly version: string;
  /** The server's own public key, and the secret that it comes from, base64. */
  readonly serverKey: string;
  readonly serverSeed: string;
  /** Of its directory, see directory/directory-id.ts. */
  readonly directoryId: string;
  /** There are links to the other servers of the directory. */
  readonly hasPeers: boolean;
  /** Plain connections from other hosts may register: the administrator says that the network is trusted. */
  readonly insecure: boolean;
  readonly startedAt: number;
  /** From where it can be reached, see ServerScope. */
  readonly scope: ServerScope;
  /** "@name" of the abstract socket that clients of this host move to. */
  readonly abstractName: string;
  /** Login of the server's own uid; null when it has none. */
  readonly serverUser: string | null;
  /** Login names belong to no particular user. */
  readonly openNames: boolean;
  /** With which tokens of HELLO are made, base64. */
  readonly tokenSecret: string;
  /** MUNGE credentials count. */
  readonly munge: boolean;
  /** Bytes a second that each client may have passed on to others; 0: none. */
  readonly relayRate: number;
  /** Of the server. */
  readonly workers: number;
  /** Other hosts read the directory only while they are on themselves. */
  readonly isPrivate: boolean;
  /** On which the server listens. */
  readonly port: number;
  /** PEM. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly bans: readonly Ban[];
}

/** One connection, as an administrator sees it. */
export interface ClientRow {
  readonly worker: number;
  readonly connection: number;
  /** Null while nothing is registered on it. */
  readonly name: string | null;
  /** Filled in by the primary. */
  readonly user: string | null;
  /** As the kernel says; null where it says nothing. */
  readonly uid: number | null;
  /** Null on a Unix socket. */
  readonly address: string | null;
  readonly transport: "unix" | "tcp" | "tls";
  /** Of the key that it has proved last; null if none. */
  readonly fingerprint: string | null;
  /** When it connected, ms since the epoch. */
  readonly since: number;
}

/** Connections that an administrator closes: of a client by its name, or all of a user or a key. */
export interface Removal {
  /** Folded. */
  readonly name?: string;
  /** See Ban. */
  readonly target?: string;
  /** The administrator. */
  readonly by: string;
  /** The end of a ban, ms since the epoch; null: it is none. */
  readonly until: number | null;
}

export type AdminAnswer =
  | { readonly is: "refused"; readonly line: string }
  /** So many clients or bans were there. */
  | { readonly is: "done"; readonly count: number }
  | { readonly is: "clients"; readonly rows: readonly ClientRow[] }
  | { readonly is: "bans"; readonly bans: readonly Ban[] };

/** An administrator's request, and the connection that it came by. */
export interface AdminQuestion {
  readonly uid: number | null;
  readonly connection: number;
  readonly request: AdminRequest;
}

/** One registration, wherever its connection is. */
export interface Callee extends ConnectionPlace {
  /** Of the registration that is meant: a later one of the same connection is another. */
  readonly claimId: string;
  /** It is at another server of the directory: its name there; empty where the place is the connection's at that server. */
  readonly elsewhere?: { readonly server: string; readonly name: string };
}

/** Counters of one worker, for INFO. */
export interface WorkerLoad {
  readonly id: number;
  readonly pid: number;
  readonly connections: number;
  readonly clients: number;
  readonly requests: number;
  /** Clients that it has put into the directory, and how many of those took their name over from a live connection. */
  readonly registrations: number;
  readonly takeovers: number;
  /** Accesses to the directory that it could not say the outcome of. */
  readonly unknownOutcomes: number;
  /** See AnnouncerStats. */
  readonly watchers: number;
  readonly interests: number;
  readonly pushes: number;
  readonly coalesced: number;
  readonly unwatched: number;
  /** Datagrams that were passed on, their bytes, and those that a receiver was too slow for. */
  readonly relayed: number;
  readonly relayedBytes: number;
  readonly relayLost: number;
  /** Milliseconds, of the last interval that was looked at. */
  readonly loopDelayP99: number;
  readonly memory: number;
  readonly refusals: Readonly<Record<string, number>>;
}

/** What a worker asks the primary of the mailbox. Names are folded, bytes base64. */
export type MailboxRequest =
  | (Omit<NewLeft, "bytes"> & { readonly op: "leave"; readonly bytes: string })
  | { readonly op: "take"; readonly to: string; readonly connection: number; readonly count: number }
  | { readonly op: "done"; readonly connection: number; readonly names: readonly string[]; readonly lost: boolean };

export type MailboxAnswer =
  | { readonly op: "kept"; readonly at: number; readonly until: number; readonly waiting: number }
  | { readonly op: "taken"; readonly messages: readonly TakenMessage[] }
  | { readonly op: "done" }
  | { readonly op: "refused"; readonly why: "none" | "full" | "failed" };

export interface TakenMessage {
  readonly name: string;
  readonly at: number;
  readonly again: boolean;
  readonly bytes: string;
}

/** A client that is not on is about to send from there. */
export interface KnockMessage {
  readonly type: "knock";
  readonly to: Callee;
  /** base64 */
  readonly key: string;
  readonly from: readonly Endpoint[];
}

/** A datagram on its way from one client to another. */
export interface RelayedDatagram {
  readonly type: "relay";
  readonly to: Callee;
  /** Where the receiver's answers go. */
  readonly from: string;
  /** base64 */
  readonly bytes: string;
}

export type ToPrimary =
  /** The process listens: what was sent before is lost. */
  | { type: "up" }
  /** It takes connections. */
  | { type: "ready" }
  /** Nothing handles this error: the process ends. `isShortage`: the machine has run out of something. */
  | { type: "failed"; reason: string; isShortage: boolean }
  /** The connection of that ticket has arrived: the primary lets go of its copy. */
  | { type: "adopted"; ticket: number }
  /** The directory's new objects are open. */
  | { type: "reopened" }
  | { type: "closed"; origin: Origin }
  /** A client begins or ends to have datagrams passed on at this worker. `client`: see RelayMeter */
  | { type: "relay-use"; client: string; isUsing: boolean }
  | { type: "events"; events: readonly DirectoryEvent[] }
  /** Interests (names, rooms, everybody) that its clients have begun or ended to watch. Answered by "interest-known". */
  | ({ type: "interest" } & InterestChange)
  | { type: "call"; to: Callee; from: PackedEntry }
  | KnockMessage
  | { type: "replaced"; to: Callee }
  | { type: "ask-info"; id: number }
  | { type: "ask-servers"; id: number; withLinks: boolean }
  | { type: "mailbox"; id: number; request: MailboxRequest }
  | RelayedDatagram
  /** Of a client that has messages. */
  | { type: "mail"; to: Callee; count: number }
  /** The connection has gone, and had asked for messages. */
  | { type: "mailbox-release"; connection: number }
  /** Asks for the owner of the name, and the caller's right to it; or, without a name, for the login of a uid. */
  | { type: "ask-right"; id: number; question: NameQuestion }
  /** A client that counted for this user or address has gone, or did not come to be on. */
  | { type: "client-gone"; account: string }
  | { type: "ask-login"; id: number; uid: number }
  | { type: "load"; id: number; load: WorkerLoad }
  | { type: "ask-admin"; id: number; question: AdminQuestion }
  /** Whether that user is an administrator. */
  | { type: "ask-is-admin"; id: number; uid: number }
  | { type: "clients"; id: number; rows: readonly ClientRow[] }
  | { type: "removed"; id: number; count: number }
  /** What its directory asks of the host, where that makes the changes. */
  | { type: "directory"; id: number; request: HostRequest }
  | { type: "workerError"; reason: string };

/** Resolves when the message has left this process: a sender that waits for it never fills the channel. */
export type SendToPrimary = (message: ToPrimary) => Promise<void>;

export type ToWorker =
  | { type: "start"; config: WorkerConfig; owners: readonly number[] }
  /** `full`: it takes the place of a connection that has not registered, or there is none for it. */
  | { type: "connection"; origin: Origin; ticket: number; full: boolean }
  | { type: "owners"; owners: readonly number[] }
  /** Those of other workers that concern somebody there. */
  | { type: "events"; events: readonly DirectoryEvent[] }
  | { type: "interest-known" }
  | { type: "call"; to: Callee; from: PackedEntry }
  | KnockMessage
  | { type: "replaced"; to: Callee }
  | { type: "info"; id: number; text: string }
  | { type: "servers"; id: number; rows: readonly (readonly (string | null)[])[] }
  | { type: "mailbox"; id: number; answer: MailboxAnswer }
  | { type: "mail"; to: Callee; count: number }
  | RelayedDatagram
  /** So many workers divide that client's share of the relay. */
  | { type: "relay-users"; client: string; workers: number }
  /** The server has seen a client's chat socket there. */
  | { type: "observed"; to: ConnectionPlace; address: string; port: number }
  /** So many messages wait for a name: the client that is on under it gets the push `mail`. */
  | { type: "waiting"; name: string; count: number }
  /** `isOver`: the user or address may have no further client. */
  | { type: "right"; id: number; right: NameRight; isOver?: boolean }
  | { type: "login"; id: number; login: string | null }
  | { type: "ask-load"; id: number }
  | { type: "admin"; id: number; answer: AdminAnswer }
  | { type: "is-admin"; id: number; isAdmin: boolean }
  | { type: "ask-clients"; id: number }
  | { type: "remove"; id: number; removal: Removal }
  | { type: "bans"; bans: readonly Ban[] }
  /** The server is about to end: its connections end one after the other, within that time; that one last. */
  | { type: "drain"; withinMs: number; except: number | null }
  | { type: "directory"; id: number; answer: HostAnswer }
  /** The directory's engine cannot be asked, or can again. */
  | { type: "away"; isAway: boolean }
  /** The directory's objects have been made anew. */
  | { type: "reopen"; config: DirectoryConfig | null }
  | { type: "stop"; reason: string };
