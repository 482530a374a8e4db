// One server's standing with the engine: its lease, its own key, and the queue of its writes.
//
//   1. open(): a lease, and the own key under a new incarnation. From then on the server may claim.
//   2. Every two seconds the lease is renewed, and the own key written again. The key's end is the loss, whatever renewals say; and by its
//      own clock the server stops at "renewal sent" + TTL. Lost means a new lease and a new incarnation, as soon as the engine can be
//      reached. A key that has another mod_revision than the server has given it is from another past: a backup was restored.
//   3. Writes leave in batches, a few at a time: up to 64 transactions, nested, each with its own answer. One write of a key a batch:
//      compares see what was there before the batch. Batches that are on their way together write different keys, too.
//   4. The own key is written again only between batches, while none is on its way: they compare it.
//   5. When the outcome of a batch is unknown, nothing else leaves before it is known: the own key is written again (fence), so that
//      whatever is still on its way fails, and in the same transaction the names are read.
import { DirectoryError } from "../directory-error.ts";
import type { Clock } from "./clock.ts";
import {
  type Engine,
  EngineError,
  type EngineState,
  type KeyValue,
  type LeaseId,
  type OperationResult,
  type Revision,
  type Transaction,
  type TransactionResult,
} from "./engine.ts";
import type { Keys } from "./keys.ts";
import { batchOf, beginIncarnation, fence, keysWritten, type OwnKey } from "./transactions.ts";

/** Seconds that a dead server's rows count as alive. */
export const LEASE_SECONDS = 10;
/** Ms between renewals, and that each may take: three may fail in a row. */
const PULSE_MS = 2_000;
/** Ms of one request to the engine. */
export const REQUEST_MS = 2_000;
/** Ms before the next attempt when the engine has refused or not answered. */
export const RETRY_MS = 200;
/** Ms that a write may wait for the engine; then its caller hears "try again". */
const WRITE_MS = 4_000;
/** Transactions of one batch; etcd takes 128 operations in one. */
const BATCH_WRITES = 64;
/** Batches that are on their way at a time: the next does not wait for the answer to the last. More are smaller, and cost more. */
const BATCHES = 2;

export interface SessionState extends OwnKey {
  readonly incarnation: string;
}

interface Lived extends SessionState {
  readonly lease: LeaseId;
  /** Of the own clock. */
  validUntil: number;
  epoch: Revision;
  /** No attempt to write the key is of unknown outcome. */
  isEpochSure: boolean;
}

/** What has come of a write. */
export interface WriteOutcome {
  readonly succeeded: boolean;
  /** As of which the values are read; of the write, if it succeeded. */
  readonly revision: Revision;
  /** What it read, when it did not succeed: by key. */
  readonly values: ReadonlyMap<string, KeyValue | null>;
  /** See {@link Session.past}. */
  readonly past: number;
}

export interface Write {
  /** The name that it is about. */
  readonly folded: string;
  /** False: also without a lease, since it compares what it removes. */
  readonly needsSession: boolean;
  /** Made when it leaves. */
  readonly build: (own: SessionState) => Transaction;
}

/** Rejects a write whose compares are of another past than the server has now: its sender has to decide again. */
export const PAST_IS_OVER = new Error("what the write compares is of a past that is over");

interface Queued extends Write {
  /** When it was decided on. */
  readonly past: number;
  readonly until: number;
  readonly resolve: (outcome: WriteOutcome) => void;
  readonly reject: (error: Error) => void;
}

/** A write as it leaves, and the keys that it may write. */
interface Batched {
  readonly write: Queued;
  readonly transaction: Transaction;
  readonly keys: readonly string[];
}

/** A write of unknown outcome, and the timer that tells its caller in time. */
interface Unknown {
  readonly write: Queued;
  readonly timer: Disposable;
}

export interface SessionOwner {
  readonly keys: Keys;
  readonly server: string;
  /** What the own key is to hold: something else each time, so that no two pasts of the engine have the same. */
  value(): Uint8Array;
  readonly clock: Clock;
  newIncarnation(): string;
  /** A new incarnation has begun. */
  opened(own: SessionState): void;
  /** What the server knows may be of another past now: it lists again. */
  lost(reason: string): void;
  /** The engine answers, or has not for a while. */
  reachable(is: boolean): void;
  /** The engine refuses changes, for that reason; null: it takes them again. */
  refused(reason: string | null): void;
}

const GONE = "its key is gone";
const REWOUND = "the engine has gone back, to a backup or another cluster";
const NOBODY: SessionState = { key: "", epoch: 0, incarnation: "" };

export class Session {
  readonly #engine: Engine;
  readonly #owner: SessionOwner;
  #state: Lived | null = null;
  /** The own key is to be written again, between two batches: they compare it. */
  #isKeyDue = false;
  /** The key of the last incarnation, if it may still be there. */
  #last: string | null = null;
  #queue: Queued[] = [];
  #isDraining = false;
  /** Batches without an answer yet. */
  #onTheWay = 0;
  /** Keys that they write. */
  readonly #taken = new Set<string>();
  readonly #unknown: Unknown[] = [];
  /** The engine has refused a batch: it is left alone for a moment. */
  #isRefused = false;
  #closed = false;
  /** Counts losses: an answer to an earlier question may be of another past than the new list. */
  past = 0;
  #seen: { cluster: string; revision: Revision } | null = null;
  readonly #sleepers = new Set<() => void>();
  /** Waits for an answer. */
  #listener: (() => void) | null = null;
  /** Of the engine, as stats() shows it. */
  readonly counters = { writes: 0, batches: 0, refused: 0, unknown: 0, fences: 0, incarnations: 0 };
  #answeredAt: number;
  #isReachable = true;
  /** Why the engine has refused the last change; null: it has not. */
  #refusal: string | null = null;

  constructor(engine: Engine, owner: SessionOwner) {
    this.#engine = engine;
    this.#owner = owner;
    this.#answeredAt = owner.clock.now();
  }

  /** Null: the server may not claim now. */
  get state(): SessionState | null {
    const state = this.#state;
    return state !== null && this.#owner.clock.now() < state.validUntil ? state : null;
  }

  /** An incarnation has begun, and is not known to be over. */
  get isOpen(): boolean {
    return this.#state !== null;
  }

  get isReachable(): boolean {
    return this.#isReachable;
  }

  /** Opens the first incarnation, and keeps one from then on. @throws EngineError */
  async start(): Promise<void> {
    await this.#open();
    void this.#keep();
  }

  /**
   * Waits its turn. The caller has decided by what it knows in this very moment.
   * @throws DirectoryError `try-again`; {@link PAST_IS_OVER}
   */
  write(write: Write): Promise<WriteOutcome> {
    if (this.#closed) return Promise.reject(DirectoryError.tryAgain("the server ends"));
    return new Promise((resolve, reject) => {
      const until = this.#owner.clock.now() + WRITE_MS;
      this.#queue.push({ ...write, past: this.past, until, resolve, reject });
      void this.#drain();
    });
  }

  /** A transaction that only reads. @throws EngineError */
  async read(transaction: Transaction): Promise<TransactionResult> {
    return this.#transact(transaction);
  }

  /** @param since what was known when the question left: an answer from before that is from another past */
  checkPast(state: EngineState, since: Revision): void {
    const isOther = this.#seen !== null && this.#seen.cluster !== state.cluster;
    if (isOther || state.revision < since) {
      this.#seen = { cluster: state.cluster, revision: state.revision };
      this.lose(REWOUND);
      return;
    }
    this.#seen = { cluster: state.cluster, revision: Math.max(this.#seen?.revision ?? 0, state.revision) };
  }

  /** The engine has another past than this server has seen. */
  goneBack(): void {
    this.#seen = null;
    this.lose(REWOUND);
  }

  /** The latest revision that any answer has had. */
  get seenRevision(): Revision {
    return this.#seen?.revision ?? 0;
  }

  /** The own key is gone. */
  lose(reason: string): void {
    const state = this.#state;
    if (state !== null) this.#last = state.key;
    this.#state = null;
    this.past++;
    if (state !== null || reason === REWOUND) this.#owner.lost(reason);
    this.#wake();
  }

  /** Ends the incarnation: its rows are dead from then on. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wake();
    const state = this.#state;
    this.#state = null;
    const unknown = this.#unknown.splice(0);
    for (const { timer } of unknown) timer[Symbol.dispose]();
    const waiting = [...this.#queue.splice(0), ...unknown.map(({ write }) => write)];
    for (const { reject } of waiting) reject(DirectoryError.tryAgain("the server ends"));
    if (state !== null) await this.#engine.revokeLease(state.lease, REQUEST_MS).catch(() => {});
  }

  async #open(): Promise<void> {
    const { keys, server, clock } = this.#owner;
    const incarnation = this.#owner.newIncarnation();
    const sentAt = clock.now();
    const lease = await this.#answered(this.#engine.grantLease(LEASE_SECONDS, REQUEST_MS));
    const key = keys.server(server, incarnation);
    const result = await this.#transact(beginIncarnation({ key, lease, value: this.#owner.value(), last: this.#last }));
    this.#noteRefusal(null);
    if (!result.succeeded || this.#closed) return; // another incarnation of that name: a new one next time
    const validUntil = sentAt + LEASE_SECONDS * 1000;
    this.#last = null;
    this.#state = { key, incarnation, lease, epoch: result.revision, validUntil, isEpochSure: true };
    this.counters.incarnations++;
    this.#owner.opened(this.#state);
    this.#wake();
  }

  /** Keeps an incarnation until close(). */
  async #keep(): Promise<void> {
    while (!this.#closed) {
      const state = this.#state;
      let wait = PULSE_MS;
      try {
        if (state === null) {
          await this.#open();
          wait = this.#state === null ? RETRY_MS : PULSE_MS;
        } else await this.#pulse(state);
      } catch (error) {
        if (!(error instanceof EngineError)) throw error;
        this.#noteRefusal(error);
        if (error.code === "no-lease") this.lose("its lease is gone");
        wait = this.#state === null ? RETRY_MS : PULSE_MS;
      }
      if (state !== null && this.#owner.clock.now() >= state.validUntil) this.lose("its lease was not renewed in time");
      this.#noteReach();
      if (this.#state === null && state !== null) continue;
      await this.#pause(wait);
    }
  }

  async #pulse(state: Lived): Promise<void> {
    const sentAt = this.#owner.clock.now();
    const seconds = await this.#answered(this.#engine.keepAlive(state.lease, REQUEST_MS));
    state.validUntil = Math.max(state.validUntil, sentAt + Math.min(seconds, LEASE_SECONDS) * 1000);
    this.#isKeyDue = true;
    void this.#drain();
  }

  /**
   * Writes the own key again, and reads names. What was sent before and has not arrived fails from then on.
   * @returns null when the incarnation is over. @throws EngineError
   */
  async #writeOwnKey(state: Lived, names: readonly string[]): Promise<TransactionResult | null> {
    const { keys } = this.#owner;
    if (this.#state !== state) return null;
    let sent: TransactionResult;
    try {
      sent = await this.#transact(fence(keys, state, state.lease, this.#owner.value(), names));
    } catch (error) {
      if (error instanceof EngineError && error.code === "unknown") state.isEpochSure = false;
      throw error;
    }
    if (this.#state !== state) return null;
    const [own] = sent.results;
    if (sent.succeeded) state.epoch = sent.revision;
    else if (own?.kind !== "get" || own.value === null) {
      this.lose(GONE);
      return null;
    } else if (state.isEpochSure || own.value.modRevision < state.epoch) {
      this.lose(REWOUND);
      return null;
    } else state.epoch = own.value.modRevision; // an earlier attempt has come through after all
    state.isEpochSure = sent.succeeded;
    return sent;
  }

  async #drain(): Promise<void> {
    if (this.#isDraining) return;
    this.#isDraining = true;
    try {
      while (!this.#closed && (this.#queue.length > 0 || this.#isKeyDue || this.#unknown.length > 0)) {
        if (this.#isUnsure && this.#queue.some(({ needsSession }) => needsSession)) this.#isKeyDue = true;
        const isAlone = this.#isKeyDue || this.#unknown.length > 0 || this.#isRefused;
        if (this.#onTheWay >= (isAlone ? 1 : BATCHES)) {
          await this.#answer();
          continue;
        }
        if (this.#unknown.length > 0) await this.#settle();
        else if (this.#isRefused) await this.#rest();
        if (this.#isKeyDue) await this.#renewOwnKey();
        await this.#others();
        this.#dropLate();
        const batch = this.#nextBatch();
        if (batch.length > 0) void this.#send(batch);
        else if (this.#onTheWay > 0) await this.#answer();
        else if (this.#queue.length > 0) await this.#pause(RETRY_MS); // for a lease, or for the own key
      }
    } finally {
      this.#isDraining = false;
    }
  }

  /** What the own key is now is not known: a compare with it would fail, maybe. */
  get #isUnsure(): boolean {
    return this.#state !== null && !this.#state.isEpochSure;
  }

  async #rest(): Promise<void> {
    this.#isRefused = false;
    await this.#pause(RETRY_MS);
  }

  async #renewOwnKey(): Promise<void> {
    this.#isKeyDue = false;
    if (this.#state === null) return;
    try {
      await this.#writeOwnKey(this.#state, []);
      this.#noteRefusal(null);
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      this.#noteRefusal(error);
      if (error.code === "no-lease") this.lose("its lease is gone");
    }
  }

  #dropLate(): void {
    const now = this.#owner.clock.now();
    // A server that gets no lease waits for its operator.
    const isRefused = this.#refusal !== null && this.state === null;
    this.#queue = this.#queue.filter(({ past, until, needsSession, reject }) => {
      const isOver = now >= until || (isRefused && needsSession);
      if (!isOver && past === this.past) return true;
      reject(isOver ? this.#cannotWrite() : PAST_IS_OVER);
      return false;
    });
  }

  #cannotWrite(): DirectoryError {
    const why = this.#refusal === null ? "cannot be reached" : `takes no changes: ${this.#refusal}`;
    return DirectoryError.cannotTell(`the directory's engine ${why}`);
  }

  #nextBatch(): Batched[] {
    const own = this.#isUnsure ? null : this.state;
    const batch: Batched[] = [];
    const taken = new Set(this.#taken);
    const left: Queued[] = [];
    // What only removes goes alone: an engine that is full takes it, and nothing else.
    const isClaiming = this.#queue.every(({ needsSession }) => needsSession);
    for (const write of this.#queue) {
      const isTurn = write.needsSession === isClaiming && (own !== null || !isClaiming);
      const isReady = batch.length < BATCH_WRITES && isTurn;
      const transaction = isReady ? write.build(own ?? NOBODY) : null;
      const keys = transaction === null ? [] : keysWritten(transaction);
      if (transaction === null || keys.some((key) => taken.has(key))) {
        left.push(write);
        continue;
      }
      for (const key of keys) taken.add(key);
      batch.push({ write, transaction, keys });
    }
    this.#queue = left;
    return batch;
  }

  async #send(batch: readonly Batched[]): Promise<void> {
    this.counters.batches++;
    this.counters.writes += batch.length;
    const written = batch.flatMap(({ keys }) => keys);
    for (const key of written) this.#taken.add(key);
    this.#onTheWay++;
    const isClaiming = batch.some(({ write }) => write.needsSession);
    const transactions = batch.map(({ transaction }) => transaction);
    const [alone] = transactions.length === 1 ? transactions : [];
    const { past } = this;
    try {
      const sent = await this.#transact(alone ?? batchOf(this.#owner.keys, transactions, isClaiming));
      if (isClaiming) this.#noteRefusal(null);
      const { revision } = sent;
      const results: readonly OperationResult[] = alone ? [{ kind: "transaction", ...sent }] : sent.results;
      for (const [i, { write, transaction }] of batch.entries()) {
        write.resolve({ ...outcomeOf(transaction, results[i]), revision, past });
      }
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      const writes = batch.map(({ write }) => write);
      if (error.code === "unknown") this.#noteUnknown(writes);
      else this.#takeBack(writes, error);
    } finally {
      for (const key of written) this.#taken.delete(key);
      this.#onTheWay--;
      this.#listener?.();
      void this.#drain();
    }
  }

  /** It has not happened: until their time is over they wait for the engine. */
  #takeBack(writes: readonly Queued[], error: EngineError): void {
    this.#noteRefusal(error);
    this.counters.refused++;
    if (error.code === "refused" && error.reason !== null) {
      for (const { reject } of writes) reject(this.#cannotWrite()); // the next attempt would be refused, too
      return;
    }
    this.#isRefused = true;
    this.#queue.unshift(...writes);
  }

  #noteUnknown(writes: readonly Queued[]): void {
    this.counters.unknown += writes.length;
    const { clock } = this.#owner;
    for (const write of writes) {
      const { until, reject } = write;
      // Callers hear in time that the outcome is unknown. Callers that wait longer get the outcome.
      const timer = clock.after(Math.max(0, until - clock.now()), () =>
        reject(DirectoryError.tryAgain("the directory's engine does not answer")),
      );
      this.#unknown.push({ write, timer });
    }
  }

  /** Finds out what has come of some writes of unknown outcome, and sees to it that nothing else comes of them. */
  async #settle(): Promise<void> {
    const some = this.#unknown.splice(0, BATCH_WRITES);
    const { keys } = this.#owner;
    const names = [...new Set(some.map(({ write }) => write.folded))];
    while (!this.#closed) {
      const state = this.#state;
      if (state === null) {
        await this.#pause(RETRY_MS); // a new incarnation ends the old one, with all that is on its way
        continue;
      }
      try {
        const sent = await this.#writeOwnKey(state, names);
        if (sent === null) continue;
        const [, ...reads] = sent.results;
        this.counters.fences++;
        const values = new Map<string, KeyValue | null>();
        for (const [i, folded] of names.entries()) collect(readsOf(keys, folded), reads[i], values);
        const { past } = this;
        for (const { write } of some) write.resolve({ succeeded: false, revision: sent.revision, values, past });
        break;
      } catch (error) {
        if (!(error instanceof EngineError)) throw error;
        this.#noteRefusal(error);
        if (error.code === "no-lease") this.lose("its lease is gone");
        await this.#pause(RETRY_MS);
      }
    }
    for (const { write, timer } of some) {
      timer[Symbol.dispose]();
      if (this.#closed) write.reject(DirectoryError.tryAgain("the server ends"));
    }
  }

  async #transact(transaction: Transaction): Promise<TransactionResult> {
    const since = this.seenRevision;
    const result = await this.#answered(this.#engine.transact(transaction, REQUEST_MS));
    this.checkPast(result, since);
    return result;
  }

  async #answered<T>(answer: Promise<T>): Promise<T> {
    try {
      const result = await answer;
      this.#answeredAt = this.#owner.clock.now();
      this.#noteReach();
      return result;
    } catch (error) {
      this.#noteReach();
      throw error;
    }
  }

  /** @param error null: the engine has taken a change */
  #noteRefusal(error: EngineError | null): void {
    const refusal = error === null ? null : error.code === "no-lease" ? this.#refusal : (error.reason ?? this.#refusal);
    if (refusal === this.#refusal) return;
    this.#refusal = refusal;
    this.#owner.refused(refusal);
  }

  #noteReach(): void {
    const is = this.#owner.clock.now() - this.#answeredAt < PULSE_MS + REQUEST_MS;
    if (is === this.#isReachable) return;
    this.#isReachable = is;
    this.#owner.reachable(is);
  }

  /** Ends early when something has changed. */
  #pause(ms: number): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        timer[Symbol.dispose]();
        this.#sleepers.delete(wake);
        resolve();
      };
      const timer = this.#owner.clock.after(ms, wake);
      this.#sleepers.add(wake);
    });
  }

  /** Writes of one turn leave together. */
  async #others(): Promise<void> {
    if (this.#queue.length < BATCH_WRITES) await new Promise<void>((resolve) => this.#owner.clock.after(0, resolve));
  }

  /** Resolves with the next answer to a batch, and when something has changed. */
  #answer(): Promise<void> {
    return new Promise((resolve) => {
      this.#listener = resolve;
    });
  }

  #wake(): void {
    for (const wake of [...this.#sleepers]) wake();
    this.#listener?.();
  }
}

/** What one transaction of a batch has done, or has read instead. */
function outcomeOf(
  { otherwise }: Transaction,
  result: OperationResult | undefined,
): Pick<WriteOutcome, "succeeded" | "values"> {
  const values = new Map<string, KeyValue | null>();
  if (result?.kind !== "transaction" || result.succeeded) {
    return { succeeded: result?.kind === "transaction", values };
  }
  const keys = otherwise.map((operation) => ("get" in operation ? operation.get : ""));
  collect(keys, result, values);
  return { succeeded: false, values };
}

function collect(
  keys: readonly string[],
  result: OperationResult | undefined,
  values: Map<string, KeyValue | null>,
): void {
  if (result?.kind !== "transaction") return;
  for (const [i, one] of result.results.entries()) {
    const key = keys[i];
    if (one.kind === "get" && key !== undefined) values.set(key, one.value);
  }
}

const readsOf = (keys: Keys, folded: string): string[] => [keys.row(folded), keys.owner(folded)];
