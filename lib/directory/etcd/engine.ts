// The engine behind a directory that many servers share: a key-value store with revisions, transactions, leases and watches, as
// etcd v3 has them. The directory knows nothing of gRPC, the engine nothing of names. Two implementations: etcd itself, and a
// store in memory that has the same semantics and a seam for faults.

/** A whole number up to 2^53: etcd counts in 64 bits, one revision for each transaction that writes. */
export type Revision = number;
/** Decimal digits: etcd's leases are 64 bits at random. "0": none. */
export type LeaseId = string;

export interface KeyValue {
  readonly key: string;
  readonly value: Uint8Array;
  readonly createRevision: Revision;
  readonly modRevision: Revision;
  readonly lease: LeaseId;
}

/** A missing key has the revisions 0, and no value: to compare that is false, whatever with. */
export type Compare =
  | {
      readonly key: string;
      readonly what: "create" | "mod";
      readonly is: "=" | ">";
      readonly revision: Revision;
    }
  | { readonly key: string; readonly what: "value"; readonly is: "="; readonly value: Uint8Array };

export type Operation =
  | { readonly put: string; readonly value: Uint8Array; readonly lease?: LeaseId }
  | { readonly delete: string }
  | { readonly get: string }
  | { readonly transaction: Transaction };

/** Compares, those of nested transactions too, see the state before the whole transaction. No key may be written twice in it. */
export interface Transaction {
  readonly when: readonly Compare[];
  readonly then: readonly Operation[];
  readonly otherwise: readonly Operation[];
}

export type OperationResult =
  | { readonly kind: "put" }
  /** @property deleted whether the key was there */
  | { readonly kind: "delete"; readonly deleted: boolean }
  | { readonly kind: "get"; readonly value: KeyValue | null }
  | { readonly kind: "transaction"; readonly succeeded: boolean; readonly results: readonly OperationResult[] };

/** Of every answer: which cluster it is from, and its revision. After a restored backup the revision has gone back. */
export interface EngineState {
  readonly cluster: string;
  readonly revision: Revision;
}

export interface TransactionResult extends EngineState {
  readonly succeeded: boolean;
  readonly results: readonly OperationResult[];
}

export interface Page extends EngineState {
  readonly values: readonly KeyValue[];
  /** There are more behind the last one. */
  readonly more: boolean;
}

export type EngineEvent = ({ readonly put: KeyValue } | { readonly delete: string }) & { readonly revision: Revision };

export interface WatchListener {
  /** Every change of one or several whole revisions, in their order: no revision is cut. */
  events(events: readonly EngineEvent[], state: EngineState): void;
  /** Everything up to here has been told. */
  progress(state: EngineState): void;
  /**
   * The watch is over; nothing more comes. `compacted`: from `from` on the engine does not remember: list again. `rewound`: what it was to go on
   * from has never been, in the past that the engine has now. `lost`: watch again from the revision behind the last that was told whole.
   */
  ended(why: WatchEnd, error: Error): void;
}

export type WatchEnd = "compacted" | "rewound" | "lost";

export type EngineErrorCode =
  /** It did not happen and will not: no leader, no connection before the request left, quota, permission, bad request. */
  | "refused"
  /** It may have happened, or may happen later: a deadline, a connection that broke. */
  | "unknown"
  /** Of a lease that is not there (any more). */
  | "no-lease";

export class EngineError extends Error {
  override readonly name = "EngineError";
  readonly code: EngineErrorCode;
  /** Of what the engine itself refuses, and will refuse again: why, in words for every client. */
  readonly reason: string | null;

  constructor(
    code: EngineErrorCode,
    message: string,
    { reason = null, ...options }: ErrorOptions & { readonly reason?: string | null } = {},
  ) {
    super(message, options);
    this.code = code;
    this.reason = reason;
  }
}

/** Every call ends within its deadline, ms from now, and goes to the next member when one does not answer. */
export interface Engine {
  /** @throws EngineError */
  transact(transaction: Transaction, deadline: number): Promise<TransactionResult>;
  /** Keys that begin with `prefix` and come behind `after`, in their order, as of `revision` (0: now). */
  list(prefix: string, options: { after?: string; limit: number; revision: Revision; deadline: number }): Promise<Page>;
  /** @param seconds time to live */
  grantLease(seconds: number, deadline: number): Promise<LeaseId>;
  /** @returns seconds that it lives from now on. @throws EngineError `no-lease` */
  keepAlive(lease: LeaseId, deadline: number): Promise<number>;
  revokeLease(lease: LeaseId, deadline: number): Promise<void>;
  /** Changes of keys that begin with `prefix`, from this revision on. */
  watch(prefix: string, from: Revision, listener: WatchListener): Disposable;
  close(): void;
}
