// At which workers a client has datagrams passed on. They divide its share of the relay among them (relay-meter.ts), so that
// more connections give no client more of it. Runs in the primary.

export class RelayUsers {
  readonly #workers = new Map<string, Set<number>>(); // by client
  readonly #tell: (worker: number, client: string, workers: number) => void;

  /** @param tell how many workers divide a client's share: to each of them, when that is another number than before */
  constructor(tell: (worker: number, client: string, workers: number) => void) {
    this.#tell = tell;
  }

  /** A worker's client begins or ends to use the relay there. */
  change(worker: number, client: string, isUsing: boolean): void {
    const workers = this.#workers.get(client) ?? new Set();
    const before = workers.size;
    if (isUsing) workers.add(worker);
    else workers.delete(worker);
    if (workers.size === before) return;
    if (workers.size > 0) this.#workers.set(client, workers);
    else this.#workers.delete(client);
    // The only one knows that it is.
    if (Math.max(before, workers.size) > 1) for (const one of workers) this.#tell(one, client, workers.size);
  }

  workerDied(worker: number): void {
    for (const client of [...this.#workers.keys()]) this.change(worker, client, false);
  }
}
