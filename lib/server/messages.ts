// What the primary and its workers tell each other. Plain data: it crosses a process boundary as JSON.
import type { ClientEntry } from "../directory/entry-wire.ts";
import type { Limits } from "./limits.ts";

/** `version` is the record's in the table: of two about one name, the higher one is the later client. */
export type DirectoryEvent =
  | { kind: "joined"; version: number; client: ClientEntry }
  | { kind: "left"; version: number; name: string };

/** What a worker needs to begin. */
export interface WorkerConfig {
  /** Owner in the table's records. Never used twice by one server. */
  readonly id: number;
  /** Names of the shared objects. */
  readonly table: string;
  readonly lock: string;
  /** File with the names and their keys. */
  readonly names: string;
  readonly limits: Limits;
  readonly capacity: number;
  readonly version: string;
  /** The server's own public key, base64. */
  readonly serverKey: string;
  readonly startedAt: number;
  /** PEM. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
  readonly json: boolean;
  readonly quiet: boolean;
}

/** One registration, wherever its connection is. */
export interface Callee {
  readonly owner: number;
  readonly connection: number;
  readonly name: string;
}

/** Counters of one worker, for INFO. */
export interface WorkerLoad {
  readonly id: number;
  readonly pid: number;
  readonly connections: number;
  readonly clients: number;
  readonly requests: number;
  /** Milliseconds, of the last interval that was looked at. */
  readonly loopDelayP99: number;
  readonly memory: number;
  readonly refusals: Readonly<Record<string, number>>;
}

export type ToPrimary =
  /** The process listens: what was sent before is lost. */
  | { type: "up" }
  /** It takes connections. */
  | { type: "ready" }
  /** The connection of that ticket has arrived: the primary lets go of its copy. */
  | { type: "adopted"; ticket: number }
  | { type: "closed"; address: string }
  | { type: "events"; events: readonly DirectoryEvent[] }
  | { type: "watching"; on: boolean }
  | { type: "call"; to: Callee; from: ClientEntry }
  | { type: "replaced"; to: Callee }
  | { type: "ask-info"; id: number }
  | { type: "load"; id: number; load: WorkerLoad }
  | { type: "workerError"; reason: string };

/** Resolves when the message has left this process: whoever waits for it never fills the channel. */
export type SendToPrimary = (message: ToPrimary) => Promise<void>;

export type ToWorker =
  | { type: "start"; config: WorkerConfig; owners: readonly number[] }
  /** `full`: it takes the place of a connection that has not registered, or there is none for it. */
  | { type: "connection"; address: string; ticket: number; full: boolean }
  | { type: "owners"; owners: readonly number[] }
  | { type: "events"; events: readonly DirectoryEvent[] }
  | { type: "call"; to: Callee; from: ClientEntry }
  | { type: "replaced"; to: Callee }
  | { type: "info"; id: number; text: string }
  | { type: "ask-load"; id: number }
  | { type: "stop"; reason: string };
