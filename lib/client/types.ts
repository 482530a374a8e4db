// What the client library takes and gives out: options, events, results, counters. Types only.
import type { FailedCode, Remedy, TalkError } from "../base/errors.ts";
import type { DirectoryEntry, EntryJson, PresenceState } from "../directory/entry.ts";
import type { PeerStats } from "../peer/types.ts";
import type { LocalEntry } from "../presence/local-list.ts";
import type { HistoryRecord } from "../store/history/record.ts";

export type { DirectoryEntry, EntryJson, FailedCode, HistoryRecord, LocalEntry, PeerStats };

/** Milliseconds since the Unix epoch, as Date.now() gives them. */
export type EpochMs = number;

/** A message that has arrived. */
export interface TalkMessage {
  readonly id: string;
  readonly from: string;
  readonly text: string;
  readonly at: EpochMs;
  readonly fingerprint: string;
  /**
   * The sender has proved to hold the key that is remembered for the name, and the server does not bind the name to another one.
   * A server that is away, hangs, or does not know the name says nothing against it. Of a name that is met for the first time:
   * the server binds it to the sender's key, which is remembered from then on.
   *
   * False: the server binds the name to another key than the remembered one, or nothing is known of the name on either
   * side, or the key could not be remembered. A key that contradicts the remembered one, or, without one, the server's binding,
   * makes no message at all but a "refused" event.
   */
  readonly verified: boolean;
  /** Login name and uid of the sender on the server's host, and what vouches for them; null where nothing does. */
  readonly user: string | null;
  readonly uid: number | null;
  readonly attested: "kernel" | "munge" | null;
  /** `from` is a login name of the server's host, and nothing vouches for that user. */
  readonly isUnattestedLogin: boolean;
  /** "wall": to everybody, from root of this machine; no user can ignore it. */
  readonly kind: "text" | "wall";
  /** "#ops", folded, in which it was said; null: to this client alone. */
  readonly room: string | null;
  /** The way that it came: from the sender's program, by a relay, or left at the server. */
  readonly via: Via;
  /** When it was left for this client at the server; null: it came from the sender's program. */
  readonly leftAt: EpochMs | null;
  /** It may have been shown before, by a program of this user that was killed. */
  readonly again: boolean;
  /** A program sent it without a person's doing: to answer it by a program may never end. */
  readonly auto: boolean;
}

/** The reach of a message to everybody. */
export interface WallResult {
  /** Null: no other user was on. */
  readonly id: string | null;
  readonly reached: number;
  /** Clients that were on. */
  readonly of: number;
}

/** How a message came, or went. */
export type Via = "direct" | "relay" | "mailbox";

/** A message was taken for sending: exactly one of delivered, failed and unconfirmed follows. Emitted before send() returns. */
export interface SentEvent {
  readonly id: string;
  readonly to: string;
  readonly at: EpochMs;
}
/** The other side has handed the text to its output. */
export interface DeliveredEvent {
  readonly id: string;
  readonly to: string;
  readonly at: EpochMs;
  /** Milliseconds from send() to the other side's word that the text was handed to its output. */
  readonly ms: number;
  /** In which it was said: each member has an event of its own; null: to this one alone. */
  readonly room: string | null;
  readonly via: Via;
}
/** It was not shown, and will not be. */
export interface FailedEvent {
  readonly id: string;
  readonly to: string;
  readonly code: FailedCode;
  readonly message: string;
  readonly room: string | null;
  /** What a person could do about it, as the error of send() has it; its subject is `to`. */
  readonly remedy: Remedy | null;
}
/** The other side may have shown it, and has not said so: sending it again may double it, unless under the same id. */
export interface UnconfirmedEvent {
  readonly id: string;
  readonly to: string;
  readonly room: string | null;
  readonly at: EpochMs;
  readonly message: string;
}
/** Somebody, this client too, has come into a room that it is in, or has left it. */
export interface RoomEvent {
  /** "#ops", folded. */
  readonly room: string;
  readonly state: "joined" | "left";
  readonly name: string;
  /** How many are in it now, this client too. */
  readonly members: number;
}

/** What became of a message in a room. */
export interface RoomResult {
  readonly id: string;
  readonly room: string;
  /** How many have it… */
  readonly delivered: number;
  /** …of how many others were in the room when it was sent. */
  readonly of: number;
  /** Names of those that have it, and of those that did not want it. */
  readonly to: readonly string[];
  readonly declined: readonly string[];
  readonly failed: readonly { readonly to: string; readonly code: FailedCode | "unconfirmed" }[];
  /** Of those in `to`, whose keys this user had not met before. */
  readonly newKeys: readonly string[];
}

/** How far a file has come. */
export interface FileProgress {
  readonly id: string;
  /** "offered": the receiver's program has the offer. "accepted", perhaps again from the beginning. */
  readonly state: "offered" | "accepted" | "progress";
  /** Its base name. */
  readonly name: string;
  /** In bytes, like `done`, which counts the bytes on the receiver's disk. */
  readonly size: number;
  readonly done: number;
  /** Of the whole file, in hex. */
  readonly sha256: string;
}

/** For `TalkClient.sendFile()`. */
export interface SendFileOptions {
  /** Names the transfer, 1 to 64 bytes of UTF-8; random unless told otherwise. Never the same twice. */
  readonly id?: string;
  /** Gives the file up: sendFile() rejects with its reason. What has arrived is kept there, and need not be sent again. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: FileProgress) => void;
  /** Milliseconds until the receiver's program has the offer, at most a week; default 10 000. A person then has ten minutes to accept it. */
  readonly timeoutMs?: number;
}
/** The receiver has the whole file, synced, under its name. */
export interface SendFileResult {
  readonly id: string;
  readonly to: string;
  readonly name: string;
  readonly size: number;
  readonly sha256: string;
  /** Milliseconds from the offer to the file's being under its name on the receiver's disk. */
  readonly ms: number;
}

/** For `FileOffer.accept()`. */
export interface AcceptFileOptions {
  /** Gives the file up: accept() rejects with its reason. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: FileProgress) => void;
  /** The most bytes that are taken; default 1 GiB. */
  readonly maxSize?: number;
}
/** A file that has arrived whole and lies under its name. */
export interface ReceivedFile {
  readonly id: string;
  readonly from: string;
  /** As its sender calls it, without folders, and what a terminal would obey; `path` has what it is called here. */
  readonly name: string;
  readonly size: number;
  readonly sha256: string;
  readonly path: string;
  readonly ms: number;
}

/** A file that somebody wants to send. The first call counts; without a call the offer ends with its sender's patience. */
export interface FileOffer {
  readonly id: string;
  readonly from: string;
  /** A base name without a leading dot or dash, and without what a terminal would obey. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  /** In hex. */
  readonly sha256: string;
  readonly at: EpochMs;
  readonly fingerprint: string;
  /** As a message's. */
  readonly verified: boolean;
  /** Aborted when its sender gives it up before it was answered, or has gone. */
  readonly withdrawn: AbortSignal;
  /**
   * Takes the file; what an earlier attempt has left is not sent again. Fulfilled when the file is whole, synced, and under its name in
   * the directory: "name (2)" and so on where that name is taken.
   * @throws TalkError declined (larger than maxSize; the sender learns it), not-delivered (it broke off; the
   * part that has come is kept for a week), bad-data (it differs from the offer), usage (answered already); the
   * system's error (ENOSPC…), the signal's reason
   */
  accept(directory: string, options?: AcceptFileOptions): Promise<ReceivedFile>;
  /** @param reason a clause that its sender reads */
  decline(reason?: string): void;
}

/** The server keeps it for its recipient. */
export interface KeptEvent {
  readonly id: string;
  readonly to: string;
  readonly at: EpochMs;
  /** When the server discards it, if its recipient has not fetched it. */
  readonly until: EpochMs;
  /** Fingerprint of the key that it was sealed for, if that was met for the first time; it is remembered from now on. */
  readonly newKey: string | null;
}
/** What became of a message that this user has left. */
export interface ReceiptEvent {
  readonly id: string;
  readonly to: string;
  readonly at: EpochMs;
  /**
   * "delivered", "declined": the recipient's word. "expired": the recipient has not fetched it in time; "lost-key": the recipient has no
   * key any more that opens it; both are the server's word.
   */
  readonly state: "delivered" | "declined" | "expired" | "lost-key";
}
/** Another client has come or gone. */
export interface PeerEvent {
  readonly name: string;
  /** "joined" may come again without "left" between: a client that comes back after the server has died is announced again. */
  readonly state: "joined" | "left";
}
/** The connection with the server has broken off, is there again, or the server is closing. */
export interface ServerEvent {
  readonly state: "lost" | "back" | "closing";
  /** "HOST:PORT" of that server. */
  readonly address: string;
  /** The user that it runs as; null of one that does not say. */
  readonly uid: number | null;
  readonly user: string | null;
}

/** Messages to a peer go another way from now on: over the relay, directly again, or to another address. */
export interface PathEvent {
  readonly name: string;
  readonly via: "direct" | "relay";
  /** Null by the relay. */
  readonly address: string | null;
  readonly port: number | null;
}

/** Somebody is met for the first time: the key is remembered from now on, and no other one is taken for the name. */
export interface MetEvent {
  readonly name: string;
  readonly fingerprint: string;
}

/**
 * Somebody says whether they look: "away" by their own word, "idle" when nothing was typed for a while. A client that is not "here"
 * when it comes on gives this event right behind its "peer" event.
 */
export interface StatusEvent {
  readonly name: string;
  readonly state: PresenceState;
  readonly text: string;
}

/** Messages of one sender that were not handed over one by one: they are in the history. */
export interface FoldedEvent {
  readonly from: string;
  /** Since the last such event. */
  readonly count: number;
}

/** The events of a TalkClient, each with its arguments. */
export interface TalkClientEvents {
  message: [message: TalkMessage];
  sent: [event: SentEvent];
  delivered: [event: DeliveredEvent];
  failed: [event: FailedEvent];
  unconfirmed: [event: UnconfirmedEvent];
  kept: [event: KeptEvent];
  receipt: [event: ReceiptEvent];
  folded: [event: FoldedEvent];
  room: [event: RoomEvent];
  /** What became of a message in a room, after the events of its members. */
  "room-result": [result: RoomResult];
  /** A file is offered. Without a listener, offers are declined. */
  file: [offer: FileOffer];
  peer: [event: PeerEvent];
  status: [event: StatusEvent];
  met: [event: MetEvent];
  path: [event: PathEvent];
  server: [event: ServerEvent];
  /**
   * A message was refused: its sender's key contradicts the name it uses. Its text was thrown away. At most two a second. Or the server
   * shows another certificate or key than before, told once: conversations go on, and it is tried again.
   */
  refused: [error: Error];
  /**
   * The session ended for good (name lost to another program, refused): send() fails from here on. Or a listener of this
   * client threw, or its promise was rejected: the event carries what it threw, and nothing has ended; a message whose listener
   * did so stays unconfirmed. Without a listener for "error" the first is passed over, and the second is an uncaught exception.
   */
  error: [error: Error];
}

/** For `TalkClient.connect()`. */
export interface ConnectOptions {
  /** 1 to 32 bytes of UTF-8: letters, digits, ".", "_", "-". */
  readonly name: string;
  /**
   * "HOST:PORT"; default 127.0.0.1:5518. Several, as a list or with commas between, at most 8, are tried in that order: a server that does
   * not answer within some seconds is passed over, and so, with a warning, is one whose certificate has changed. A client whose server
   * is gone goes on at the next that answers, under its name, and stays there; "server" events say where it is.
   */
  readonly server?: string | readonly string[];
  /** Folder of the key and of known_peers; default $XDG_STATE_HOME/ptalk. */
  readonly stateDir?: string;
  /** Aborts connecting; afterwards it has no effect. */
  readonly signal?: AbortSignal;
  /** UDP port; default 0: any. */
  readonly port?: number;
  /** Where another program has that port, another one will do. */
  readonly portFallback?: boolean;
  /** Plain TCP to a server that is not on loopback. */
  readonly insecure?: boolean;
  /** File with certificates (PEM) of authorities that issue the server's; default: it is remembered when it is met first. */
  readonly ca?: string | undefined;
  /** Start a server in the background when none answers on the default address. */
  readonly startServer?: boolean;
  /**
   * "always" (default): be on under the name. "never": only send under it, as `ptalk send` does, also while another client
   * of the same user is on; no other client sees this one come and go, and nothing can be sent to it. Both fail with
   * name-taken if the name is another key's.
   */
  readonly register?: "always" | "never";
  /** At most 4,096 names that will be sent to at once: they are looked up along the way. */
  readonly recipients?: readonly string[];
  /**
   * Hands a message to its output. The sender learns "delivered" once this has returned and its promise is
   * fulfilled; a rejection leaves the message unconfirmed. Without it the "message" listeners are the output.
   */
  readonly deliver?: (message: TalkMessage) => void | Promise<void>;
  /**
   * Messages wait for it, and only then is it decided whether they were shown before: for a program that has to learn first what another
   * one has taken under this name.
   */
  readonly receiveAfter?: Promise<void>;
  /**
   * Keeps what is said in a journal of its own in stateDir, see history(): messages once they are delivered or have failed, at most
   * a moment later. Default: false.
   */
  readonly history?: boolean | KeepHistoryOptions;
  /** The senders whose messages are taken; others read `declined`. "known": those with a remembered key. Default: "all". */
  readonly accept?: Accept;
  /**
   * Of a sender's burst only some messages are handed over; the others go into the history, which it needs, are confirmed once they
   * are on the disk, and are told of by "folded" events. For programs with a screen. Default: false.
   */
  readonly fold?: boolean;
  /**
   * This program is unattended: a message goes into the history, which it needs, is confirmed once it is on the disk,
   * and only then goes to the "message" listeners, whose outcome changes nothing. Default: false.
   */
  readonly unattended?: boolean;
  /**
   * Take the name over from another program that is on under the same key; that one gets an "error", name-taken. For a person's doing
   * (a terminal takes over from an agent), never by itself: two programs would push each other out. Default: false.
   */
  readonly replace?: boolean;
  /** False: no list shows this client; a user who knows the name finds it all the same. Default: true. */
  readonly listed?: boolean;
  /**
   * Where no direct path leads, sealed datagrams may go over the server, which then learns who talks to whom, when and how much. False:
   * direct paths only. Default: true.
   */
  readonly relay?: boolean;
}

/** The senders whose messages are taken: all; those whose login the server's kernel, or a MUNGE credential, vouches for; those met before; none. */
export type Accept = "all" | "attested" | "known" | "none";

/** What is kept of what was said. */
export interface KeepHistoryOptions {
  /** Days after its last message that a journal is removed; default 90. */
  readonly days?: number;
  /** Called once, when something could not be written; default: process.emitWarning. No message fails for it. */
  readonly onFailure?: (error: Error) => void;
}

/** Which messages history() gives. */
export interface HistoryOptions {
  /** A name, or a room: only the messages with it, or in it. */
  readonly with?: string | undefined;
  /** From then on. */
  readonly since?: EpochMs | Date | undefined;
  /** Before then. */
  readonly until?: EpochMs | Date | undefined;
  /** Only texts that match. */
  readonly grep?: RegExp | undefined;
  /** Only so many, the latest. */
  readonly last?: number | undefined;
  /** Goes on with what is said from now on, by other programs of this user too, until the signal is aborted. */
  readonly follow?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Lines in the files that are no messages and were left out: as a killed program or a full disk leaves them. */
  readonly onBroken?: ((lines: number) => void) | undefined;
}

/** For `TalkClient.send()` and `wall()`. */
export interface SendOptions {
  /**
   * Milliseconds, at most a week; default 10 000. Then the other side is asked, for a second at most, whether it has shown the
   * message: delivered, not-delivered (it will not appear later) or unconfirmed.
   */
  readonly timeoutMs?: number;
  /**
   * 1 to 64 bytes of UTF-8; default: a random one. Of one key's messages with one id the receiver shows one, within 14 days: an
   * attempt after one that was not delivered, or is unconfirmed, has the id of that one.
   */
  readonly id?: string;
  /** There was an attempt with this id, so the receiver looks for it. Default: true when an id is given. */
  readonly repeated?: boolean;
  /**
   * What to do when no user of that name is on. "fail" (default): no-such-user. "wait": wait for `waitMs` at most until
   * one is, and as long for a receiver that does not confirm; then not-delivered. "leave": keep it at the server,
   * sealed, until its recipient comes; also for a receiver that does not confirm. It is shown once all the same.
   */
  readonly ifOff?: "fail" | "wait" | "leave";
  /** Milliseconds, at most a week; needed with ifOff: "wait", and only there. */
  readonly waitMs?: number;
  /** A program sends it without a person's doing, such as an answer. Default: false. */
  readonly auto?: boolean;
  /** Gives the message up: send() rejects with its reason. */
  readonly signal?: AbortSignal;
}
/** The outcome of a message to one client. */
export interface SendResult {
  readonly id: string;
  readonly to: string;
  readonly ms: number;
  readonly via: Via;
  /** "kept": it waits at the server. */
  readonly state: "delivered" | "kept";
}

/** How a client reaches its server. */
export type Transport = "unix" | "tcp" | "tls";

/** How a client and its server stand to each other. */
export interface Standing {
  readonly transport: Transport;
  /** The user that the server runs as; null of one that does not say. On a Unix socket the kernel says the same. */
  readonly serverUid: number | null;
  readonly serverUser: string | null;
  /** The user and uid that the server has registered, and what vouches for them; null where nothing does. */
  readonly user: string | null;
  readonly uid: number | null;
  readonly attested: "kernel" | "munge" | null;
}

/** What is counted of the connection to the lookup server. */
export interface ServerStats {
  readonly isConnected: boolean;
  /** Times that the connection was lost and made anew. */
  readonly reconnects: number;
  /** Milliseconds from a request to its reply, smoothed over the present connection; null before the first reply. */
  readonly roundTripMs: number | null;
}

/** What is counted of the names that the client knows. */
export interface DirectoryStats {
  /** Names in memory, those that have left and may come back among them; at most 2,048. */
  readonly contacts: number;
  /** Times that the server was asked for a name on the way to or from a message. */
  readonly lookups: number;
  /** Times that memory had the answer. */
  readonly fromMemory: number;
}

/** What is counted of messages, since connect(). */
export interface MessageStats {
  /** Taken by send() and neither delivered nor failed yet. */
  readonly underWay: number;
  readonly delivered: number;
  /** By the code of the "failed" event. */
  readonly failed: Readonly<Record<FailedCode, number>>;
  readonly unconfirmed: number;
  /** Handed over to the program. */
  readonly received: number;
  /** Not handed over, because the sender's key contradicts the name. */
  readonly refused: number;
  /** Not handed over, because the program does not listen, or the user does not want to hear the sender. */
  readonly declined: number;
}

/** Counters of one client, as they are now. */
export interface ClientStats {
  readonly server: ServerStats;
  readonly directory: DirectoryStats;
  readonly messages: MessageStats;
  /** Sessions and datagrams between clients. */
  readonly peers: PeerStats;
}

/** What the commands need of TalkClient (lib/client/talk-client.ts implements it, as an EventEmitter). */
export interface TalkConnection extends AsyncDisposable {
  readonly name: string;
  readonly server: string;
  readonly address: string;
  readonly port: number;
  readonly fingerprint: string;
  readonly standing: Standing;
  on<E extends keyof TalkClientEvents>(event: E, listener: (...args: TalkClientEvents[E]) => void): this;
  off<E extends keyof TalkClientEvents>(event: E, listener: (...args: TalkClientEvents[E]) => void): this;
  /** @throws TalkError no-such-user, not-delivered, unconfirmed, key-mismatch, declined, not-understood, too-long; AbortError */
  send(to: `#${string}`, text: string, options?: SendOptions): Promise<RoomResult>;
  send(to: string, text: string, options?: SendOptions): Promise<SendResult>;
  /** Why send() could not leave a message for the name, as far as that is known: no-key, key-mismatch, not-understood (no mailbox). */
  leaveObstacle(to: string): Promise<TalkError | null>;
  /** @returns the others in the room. @throws TalkError bad-name, too-many, unreachable, usage */
  join(room: string): Promise<readonly DirectoryEntry[]>;
  /** @throws TalkError bad-name, unreachable; usage for a room that this client is not in */
  part(room: string): Promise<void>;
  /** The members of a room, including this client. @throws TalkError bad-name, unreachable */
  members(room: string): Promise<readonly DirectoryEntry[]>;
  /** Folded names of the rooms that this client is in. */
  readonly rooms: readonly string[];
  /**
   * Offers a regular file and, once it is accepted, sends it. Resolves when the receiver has the whole file, synced,
   * under its name.
   * @throws TalkError as send(), and not-delivered for a file that changed meanwhile; usage; the system's error; the signal's reason
   */
  sendFile(to: string, path: string, options?: SendFileOptions): Promise<SendFileResult>;
  /** One message to everybody who is listed, under one id. Only root's is shown as such. @throws TalkError usage, unreachable */
  wall(text: string, options?: SendOptions): Promise<WallResult>;
  lookup(name: string): Promise<DirectoryEntry | null>;
  all(): Promise<DirectoryEntry[]>;
  /**
   * The first names, at most 100, that begin with this text, whatever its case; in their order. For completion: it costs the same
   * however many are on. @throws TalkError unreachable
   */
  names(prefix: string): Promise<string[]>;
  /** How many are on, this client among them. @throws TalkError unreachable */
  count(): Promise<number>;
  /** The server tells of everybody who comes and goes; false while too many are on, and it tells of those only that this client deals with. */
  readonly hearsAll: boolean;
  list(): LocalEntry[] | Promise<LocalEntry[]>;
  stats(): ClientStats;
  /**
   * Says whether somebody looks at this program, in its entry.
   * @param text at most 128 bytes, without control characters
   * @throws TalkError usage, bad-data, unreachable
   */
  setStatus(state: PresenceState, text?: string): Promise<void>;
  /** Declines what comes from NAME from now on, in all programs of this user. @throws TalkError bad-name, bad-config */
  ignore(name: string): Promise<void>;
  /** @returns whether it was ignored. @throws as ignore() */
  unignore(name: string): boolean;
  /** Folded names. */
  ignored(): string[];
  /** What was said, by all programs of this user, in the order of its time. @throws TalkError usage; the system's error */
  history(options?: HistoryOptions): AsyncIterable<HistoryRecord>;
  /** Leaves: unregisters and closes the sockets, within a bound. What is under way fails with not-delivered. */
  close(): Promise<void>;
}

/** A connection that only reads the server's directory: no name, no key, no chat socket. */
export interface DirectoryReader extends AsyncDisposable {
  lookup(name: string): Promise<DirectoryEntry | null>;
  all(): Promise<DirectoryEntry[]>;
  /** The first names, at most 100, that begin with this text, whatever its case; in their order. */
  names(prefix: string): Promise<string[]>;
  close(): Promise<void>;
}

/** Which server to ask, and as whom to trust it. */
export interface OpenDirectoryOptions {
  /** "HOST:PORT", or several, as for ConnectOptions: the first that answers is asked. */
  readonly server: string | readonly string[];
  readonly insecure?: boolean;
  /** See ConnectOptions. */
  readonly ca?: string | undefined;
  readonly stateDir?: string;
  /** Milliseconds to connect. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}
