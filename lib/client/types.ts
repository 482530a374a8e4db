// The records and events that the client gives out and the commands print: one shape for the library, one rule
// (`at` and other times become ISO 8601 text) for JSON. Types only.
import type { FailedCode } from "../base/errors.ts";
import type { DirectoryEntry, EntryJson } from "../directory/entry.ts";
import type { LocalEntry } from "../presence/local-list.ts";

export type { DirectoryEntry, EntryJson, LocalEntry };

/** Milliseconds since the Unix epoch, as Date.now() gives them. Printed in JSON as ISO 8601 UTC with milliseconds. */
export type EpochMs = number;

/** A message that has arrived. */
export interface TalkMessage {
  readonly id: string;
  readonly from: string;
  readonly text: string;
  readonly at: EpochMs;
  readonly fingerprint: string;
  /** The server's binding of the name and the remembered key agree. */
  readonly verified: boolean;
}

/** A message was taken for sending: exactly one of delivered and failed follows. Emitted before send() returns. */
export interface SentEvent {
  readonly id: string;
  readonly to: string;
  readonly at: EpochMs;
}
export interface DeliveredEvent {
  readonly id: string;
  readonly to: string;
  readonly at: EpochMs;
  /** Milliseconds from send() to the other side's word that the text was handed to its output. */
  readonly ms: number;
}
export interface FailedEvent {
  readonly id: string;
  readonly to: string;
  readonly code: FailedCode;
  readonly message: string;
}
export interface PeerEvent {
  readonly name: string;
  /** "joined" may come again without "left" between: who comes back after the server has died, is told of again. */
  readonly state: "joined" | "left";
}
export interface ServerEvent {
  readonly state: "lost" | "back" | "closing";
}

export interface TalkClientEvents {
  message: [message: TalkMessage];
  sent: [event: SentEvent];
  delivered: [event: DeliveredEvent];
  failed: [event: FailedEvent];
  peer: [event: PeerEvent];
  server: [event: ServerEvent];
  /** A message was refused: its sender's key contradicts the name it uses. Its text was thrown away. Not told of every one. */
  refused: [error: Error];
  /**
   * The session ended for good (name lost to another, refused): send() fails from here on. Or a listener of this client
   * threw, or its promise was rejected: whatever it threw, and nothing has ended; a message whose listener did so stays
   * unconfirmed. Without a listener for "error" the first is passed over, and the second is an uncaught exception.
   */
  error: [error: Error];
}

export interface ConnectOptions {
  /** 1 to 32 bytes, see lib/names.ts. */
  readonly name: string;
  /** "HOST:PORT"; default 127.0.0.1:5518. */
  readonly server?: string;
  /** Folder of the key and of known_peers; default $XDG_STATE_HOME/ptalk. */
  readonly stateDir?: string;
  /** Aborts connecting; afterwards it has no effect. */
  readonly signal?: AbortSignal;
  /** UDP port; default 0: any. */
  readonly port?: number;
  /** Plain TCP to a server that is not on loopback. */
  readonly insecure?: boolean;
  /** Start a server in the background when none answers on the default address. */
  readonly startServer?: boolean;
  /**
   * "always" (default): be on under the name. "never": only send under it, as `ptalk send` does, also while another client
   * of the same user is on; nobody sees this one come and go, and nothing can be sent to it. Both fail with name-taken if
   * the name is another key's.
   */
  readonly register?: "always" | "never";
  /** Names that will be sent to at once: they are looked up along the way. */
  readonly recipients?: readonly string[];
  /**
   * Hands a message to its output. The sender learns "delivered" once this has returned and its promise is
   * fulfilled; a rejection leaves the message undelivered. Without it the "message" listeners are the output.
   */
  readonly deliver?: (message: TalkMessage) => void | Promise<void>;
}

export interface SendOptions {
  /** Milliseconds until not-delivered, at most a day; default 10 000. */
  readonly timeoutMs?: number;
  /** Gives the message up: send() rejects with its reason. */
  readonly signal?: AbortSignal;
}
export interface SendResult {
  readonly id: string;
  readonly to: string;
  readonly ms: number;
}

/** What the commands need of TalkClient (lib/client/talk-client.ts implements it, as an EventEmitter). */
export interface TalkConnection extends AsyncDisposable {
  readonly name: string;
  readonly server: string;
  readonly address: string;
  readonly port: number;
  readonly fingerprint: string;
  on<E extends keyof TalkClientEvents>(event: E, listener: (...args: TalkClientEvents[E]) => void): this;
  off<E extends keyof TalkClientEvents>(event: E, listener: (...args: TalkClientEvents[E]) => void): this;
  /** @throws TalkError no-such-user, not-delivered, key-mismatch, declined, not-understood, too-long; AbortError */
  send(to: string, text: string, options?: SendOptions): Promise<SendResult>;
  lookup(name: string): Promise<DirectoryEntry | null>;
  all(): Promise<DirectoryEntry[]>;
  list(): LocalEntry[] | Promise<LocalEntry[]>;
  /** Leaves: unregisters and closes the sockets, within a bound. What is under way fails with not-delivered. */
  close(): Promise<void>;
}

/** A connection that only reads the server's directory: no name, no key, no chat socket. */
export interface DirectoryReader extends AsyncDisposable {
  lookup(name: string): Promise<DirectoryEntry | null>;
  all(): Promise<DirectoryEntry[]>;
  close(): Promise<void>;
}
/** The signature of `openDirectory` in lib/client/directory-reader.ts. @throws TalkError unreachable */
export type OpenDirectory = (options: {
  readonly server: string;
  readonly insecure?: boolean;
  readonly stateDir?: string;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}) => Promise<DirectoryReader>;

/** A row of the local table as JSON. */
export type LocalEntryJson = Timed<LocalEntry, "startedAt" | "lastMessageAt">;

type Timed<T, K extends keyof T> = Omit<T, K> & { readonly [P in K]: T[P] extends number ? string : string | null };

/** The lines of `ptalk talk --json` and `ptalk recv --json`. */
export type JsonEvent =
  | {
      readonly type: "registered";
      readonly name: string;
      readonly server: string;
      readonly address: string;
      readonly port: number;
      readonly fingerprint: string;
    }
  | { readonly type: "all"; readonly clients: readonly EntryJson[] }
  | { readonly type: "list"; readonly clients: readonly LocalEntryJson[] }
  | ({ readonly type: "message" } & Timed<TalkMessage, "at">)
  | ({ readonly type: "sent" } & Timed<SentEvent, "at">)
  | ({ readonly type: "delivered" } & Timed<DeliveredEvent, "at">)
  | ({ readonly type: "failed" } & FailedEvent)
  | ({ readonly type: "peer" } & PeerEvent)
  | ({ readonly type: "server" } & ServerEvent)
  | { readonly type: "error"; readonly code: string; readonly message: string }
  | { readonly type: "exit" };
