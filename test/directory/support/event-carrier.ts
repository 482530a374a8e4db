// Carries events between the directories of several workers, as the server's primary does: each worker's events arrive in
// order, after a random delay, as JSON.
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Directory, DirectoryEvent } from "../../../lib/directory/directory.ts";
import type { Random } from "./random.ts";

export class EventCarrier {
  readonly #random: Random;
  readonly #directories = new Map<number, Pick<Directory, "deliver">>();
  /** By sender and receiver; each settles when what was sent so far has arrived. */
  readonly #links = new Map<string, Promise<void>>();
  #underWay = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  add(worker: number, directory: Pick<Directory, "deliver">): void {
    this.#directories.set(worker, directory);
  }

  /** What a worker publishes. */
  publish(from: number, events: readonly DirectoryEvent[]): void {
    const text = JSON.stringify(events);
    for (const [to, directory] of this.#directories) {
      if (to === from) continue;
      const link = `${from} ${to}`;
      this.#underWay++;
      const arrival = (this.#links.get(link) ?? Promise.resolve()).then(async () => {
        await this.#random.delay();
        directory.deliver(JSON.parse(text) as DirectoryEvent[]);
        this.#underWay--;
      });
      this.#links.set(link, arrival);
    }
  }

  /** Resolves when everything has arrived. A directory publishes in the turn after a change. */
  async idle(): Promise<void> {
    do {
      for (let turn = 0; turn < 3; turn++) await nextTurn();
      await Promise.all(this.#links.values());
    } while (this.#underWay > 0);
  }
}
