// Bounds each client's share of the relay: so many bytes a second; what exceeds them waits for a moment, the rest is lost. The
// streams above see a path of that speed. Each worker has a meter of its own. It says when a client begins and ends to use it, and
// hears at how many workers the client does so: those divide the rate (relay-users.ts).

/** Bytes that a client may send at once after a pause: a few texts of the longest kind. */
const BURST_BYTES = 64 * 1024;
/** Bytes of one client that wait for their turn: a quarter of a second at the usual rate. More would only be late. */
const QUEUE_BYTES = 64 * 1024;
/** Clients of the server that use their whole rate at the same time; what all of them send beyond that is lost. */
const CLIENTS_AT_ONCE = 32;
/** Clients that are remembered; the first of those with an empty queue makes room. */
const MAX_CLIENTS = 4096;
/** Milliseconds between two looks at the queues. */
const TURN_MS = 5;
/** A client that has passed nothing on for so long leaves its share to its other connections. */
const USE_MS = 1_000;

interface Account {
  tokens: number;
  at: number;
  queuedBytes: number;
  usedAt: number;
  /** Workers at which the client passes datagrams on, this one included. */
  workers: number;
  readonly queue: { readonly bytes: number; readonly pass: () => void }[];
}

export interface RelayMeterParts {
  /** Of each client. */
  readonly bytesPerSecond: number;
  /** Workers of the server: each has that part of what all clients may have. */
  readonly workers: number;
  /** A client begins to use this worker's meter, or has not used it for a while. */
  readonly onUse: (client: string, isUsing: boolean) => void;
}

export class RelayMeter {
  readonly #bytesPerSecond: number;
  readonly #mostOfAll: { readonly bytesPerSecond: number; readonly burst: number };
  readonly #onUse: (client: string, isUsing: boolean) => void;
  readonly #accounts = new Map<string, Account>();
  readonly #waiting = new Set<Account>();
  readonly #all: Account;
  readonly #using = new Set<string>();
  #useTimer: NodeJS.Timeout | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor({ bytesPerSecond, workers, onUse }: RelayMeterParts) {
    const share = CLIENTS_AT_ONCE / workers;
    this.#bytesPerSecond = bytesPerSecond;
    this.#mostOfAll = { bytesPerSecond: share * bytesPerSecond, burst: Math.max(1, share) * BURST_BYTES };
    this.#onUse = onUse;
    this.#all = newAccount(this.#mostOfAll.burst);
  }

  /** So many workers divide the client's rate now. */
  setUsers(client: string, workers: number): void {
    const account = this.#accounts.get(client);
    if (account !== undefined && this.#using.has(client)) account.workers = Math.max(1, workers);
  }

  /**
   * Passes a datagram on, now or when its turn comes.
   * @param client that it counts for
   * @returns false when it is lost
   */
  offer(client: string, bytes: number, pass: () => void): boolean {
    const account = this.#account(client);
    if (account === null) return false;
    const now = performance.now();
    account.usedAt = now;
    if (!this.#using.has(client)) this.#begin(client, account);
    if (account.queue.length === 0 && this.#take(account, bytes, now)) {
      pass();
      return true;
    }
    if (account.queuedBytes + bytes > QUEUE_BYTES) return false;
    account.queue.push({ bytes, pass });
    account.queuedBytes += bytes;
    this.#waiting.add(account);
    this.#timer ??= setTimeout(() => this.#serve(), TURN_MS).unref();
    return true;
  }

  /** Null: every client that is remembered has a queue. */
  #account(client: string): Account | null {
    const known = this.#accounts.get(client);
    if (known !== undefined) return known;
    if (this.#accounts.size >= MAX_CLIENTS && !this.#forgetOne()) return null;
    const account = newAccount(BURST_BYTES);
    this.#accounts.set(client, account);
    return account;
  }

  /** Not one with a queue: its next datagram would overtake those that wait, with a full burst. */
  #forgetOne(): boolean {
    for (const [client, { queue }] of this.#accounts) {
      if (queue.length === 0) return this.#accounts.delete(client);
    }
    return false;
  }

  #begin(client: string, account: Account): void {
    this.#using.add(client);
    account.workers = 1;
    this.#onUse(client, true);
    this.#useTimer ??= setInterval(() => this.#endUnused(), USE_MS).unref();
  }

  #endUnused(): void {
    const since = performance.now() - USE_MS;
    for (const client of this.#using) {
      const account = this.#accounts.get(client);
      if (account !== undefined && (account.usedAt > since || account.queue.length > 0)) continue;
      this.#using.delete(client);
      this.#onUse(client, false);
    }
    if (this.#using.size > 0 || this.#useTimer === null) return;
    clearInterval(this.#useTimer);
    this.#useTimer = null;
  }

  #take(account: Account, bytes: number, now: number): boolean {
    const { bytesPerSecond, burst } = this.#mostOfAll;
    refill(account, this.#bytesPerSecond / account.workers, BURST_BYTES, now);
    refill(this.#all, bytesPerSecond, burst, now);
    if (account.tokens < bytes || this.#all.tokens < bytes) return false;
    account.tokens -= bytes;
    this.#all.tokens -= bytes;
    return true;
  }

  /** In turn, one datagram each: a client with a long queue delays no other one. */
  #serve(): void {
    this.#timer = null;
    const now = performance.now();
    let isMoving = true;
    while (isMoving) {
      isMoving = false;
      for (const account of this.#waiting) {
        const [next] = account.queue;
        if (next === undefined || !this.#take(account, next.bytes, now)) continue;
        account.queue.shift();
        account.queuedBytes -= next.bytes;
        if (account.queue.length === 0) this.#waiting.delete(account);
        next.pass();
        isMoving = true;
      }
    }
    if (this.#waiting.size > 0) this.#timer = setTimeout(() => this.#serve(), TURN_MS).unref();
  }
}

function newAccount(tokens: number): Account {
  const at = performance.now();
  return { tokens, at, queuedBytes: 0, usedAt: at, workers: 1, queue: [] };
}

function refill(account: Account, bytesPerSecond: number, most: number, now: number): void {
  account.tokens = Math.min(most, account.tokens + (bytesPerSecond * (now - account.at)) / 1000);
  account.at = now;
}
