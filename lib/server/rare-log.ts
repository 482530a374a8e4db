// Lines that strangers can cause by the thousand: one a minute for each event, with how many there were since the one before.
import type { Log, LogFields } from "./log.ts";

const EVERY_MS = 60_000;

interface Told {
  at: number;
  /** Events since then. */
  more: number;
}

export class RareLog {
  readonly #log: Log;
  readonly #told = new Map<string, Told>(); // as many as there are kinds of events

  constructor(log: Log) {
    this.#log = log;
  }

  warn(event: string, fields: LogFields): void {
    const now = performance.now();
    const last = this.#told.get(event);
    if (last !== undefined && now - last.at < EVERY_MS) {
      last.more++;
      return;
    }
    const more = last === undefined || last.more === 0 ? {} : { more: last.more };
    this.#told.set(event, { at: now, more: 0 });
    this.#log.warn(event, { ...fields, ...more });
  }
}
