// --exit-when-empty: notices that the last client has gone, or that none has come.

/** Ms that a server waits for its first client. */
export const FIRST_CLIENT_MS = 60_000;
/** Ms that it stays empty before it stops: a client that reconnects, or the next command of a script, finds it there. */
const EMPTY_MS = 250;

export class IdleShutdown {
  readonly #clients: () => number;
  readonly #quietMs: () => number;
  readonly #stop: () => void;
  #timer: NodeJS.Timeout | null = null;
  #hadClients = false;
  #over = false;

  /** @param quietMs ms since the last connection: a client that has just connected may be about to register */
  constructor(clients: () => number, quietMs: () => number, stop: () => void) {
    this.#clients = clients;
    this.#quietMs = quietMs;
    this.#stop = stop;
  }

  /** The server takes connections at all its workers. Some did so earlier: clients may have come, and gone, already. */
  start(): void {
    if (this.#hadClients) this.recheck();
    else this.#wait(FIRST_CLIENT_MS);
  }

  /** A client came or went. */
  clientSeen(): void {
    this.#hadClients = true;
    this.recheck();
  }

  /** Clients may have come or gone: a worker died, and what it had not announced with it. */
  recheck(): void {
    if (this.#over) return;
    if (this.#clients() > 0) {
      this.#hadClients = true;
      this.#clear();
    } else if (this.#hadClients) {
      this.#wait(EMPTY_MS);
    }
  }

  stop(): void {
    this.#over = true;
    this.#clear();
  }

  #wait(ms: number): void {
    this.#clear();
    this.#timer = setTimeout(() => {
      if (this.#clients() > 0) return;
      const quietMs = this.#quietMs();
      if (quietMs < EMPTY_MS) this.#wait(EMPTY_MS - quietMs);
      else this.#stop();
    }, ms);
  }

  #clear(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
