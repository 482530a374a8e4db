// Bounds each client's share of the relay: so many bytes a second; what exceeds them waits for a moment, the rest is lost. The
// streams above see a path of that speed. Each worker has a meter of its own: a client at two of them has two shares.

/** Bytes that a client may send at once after a pause: a few texts of the longest kind. */
const BURST_BYTES = 64 * 1024;
/** Bytes of one client that wait for their turn: a quarter of a second at the usual rate. More would only be late. */
const QUEUE_BYTES = 64 * 1024;
/** Clients that use their whole rate at the same time; what all of them send beyond that is lost. */
const CLIENTS_AT_ONCE = 32;
/** Clients that are remembered; the first of those with an empty queue makes room. */
const MAX_CLIENTS = 4096;
/** Milliseconds between two looks at the queues. */
const TURN_MS = 5;

interface Account {
  tokens: number;
  at: number;
  queuedBytes: number;
  readonly queue: { readonly bytes: number; readonly pass: () => void }[];
}

export class RelayMeter {
  readonly #bytesPerSecond: number;
  readonly #accounts = new Map<string, Account>();
  readonly #waiting = new Set<Account>();
  readonly #all: Account;
  #timer: NodeJS.Timeout | null = null;

  /** @param bytesPerSecond of each client */
  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#all = newAccount(BURST_BYTES * CLIENTS_AT_ONCE);
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

  #take(account: Account, bytes: number, now: number): boolean {
    const rate = this.#bytesPerSecond;
    refill(account, rate, BURST_BYTES, now);
    refill(this.#all, rate * CLIENTS_AT_ONCE, BURST_BYTES * CLIENTS_AT_ONCE, now);
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

const newAccount = (tokens: number): Account => ({ tokens, at: performance.now(), queuedBytes: 0, queue: [] });

function refill(account: Account, bytesPerSecond: number, most: number, now: number): void {
  account.tokens = Math.min(most, account.tokens + (bytesPerSecond * (now - account.at)) / 1000);
  account.at = now;
}
