// The events of one worker's directory. Events that happen here go to its watchers at once, and are published for the other workers
// in batches. Events from other workers may arrive out of order, by milliseconds: a newer version of the same name, seen here or
// there, makes an older one void.
import { foldName } from "../base/names.ts";
import { isLaterVersion } from "./claim-rules.ts";
import type { DirectoryEvent, DirectoryRow, Interest } from "./directory.ts";

type Listener = (events: readonly DirectoryEvent[]) => void;

/** Names whose last departure is remembered: more than leave while an event of another worker is on its way. */
const REMEMBERED_DEPARTURES = 4096;
/** Events of one batch; a full one leaves at once. */
const BATCH_EVENTS = 256;

export class EventFeed {
  readonly #publish: (events: readonly DirectoryEvent[]) => void;
  readonly #everybody = new Set<Listener>();
  /** By folded name. */
  readonly #byName = new Map<string, Set<Listener>>();
  /** Version of the row that left last, by folded name. */
  readonly #departures = new Map<string, number>();
  #batch: DirectoryEvent[] = [];

  constructor(publish: (events: readonly DirectoryEvent[]) => void) {
    this.#publish = publish;
  }

  watch(interest: Interest, listener: Listener): Disposable {
    if (interest === "everybody") {
      this.#everybody.add(listener);
      return { [Symbol.dispose]: () => this.#everybody.delete(listener) };
    }
    const names = interest.names.map(foldName);
    for (const name of names) {
      const listeners = this.#byName.get(name);
      if (listeners === undefined) this.#byName.set(name, new Set([listener]));
      else listeners.add(listener);
    }
    return { [Symbol.dispose]: () => this.#forget(names, listener) };
  }

  /** This has happened here. */
  emit(event: DirectoryEvent): void {
    this.#dispatch([event]);
    if (this.#batch.length === 0) setImmediate(() => this.#flush());
    this.#batch.push(event);
    if (this.#batch.length === BATCH_EVENTS) this.#flush();
  }

  /**
   * Other workers have published these.
   * @param find the row that is there under a name now
   */
  deliver(events: readonly DirectoryEvent[], find: (name: string) => DirectoryRow | null): void {
    if (this.#everybody.size === 0 && this.#byName.size === 0) return;
    this.#dispatch(events.filter((event) => this.#isCurrent(event, find(event.name))));
  }

  close(): void {
    this.#flush();
    this.#everybody.clear();
    this.#byName.clear();
  }

  #isCurrent({ kind, name, version }: DirectoryEvent, row: DirectoryRow | null): boolean {
    // A row under that name is a later client's, whose registration is an event of its own.
    if (kind === "off") return row === null;
    const departed = this.#departures.get(foldName(name));
    if (departed !== undefined && !isLaterVersion(version, departed)) return false;
    return row === null || !isLaterVersion(row.version, version);
  }

  #dispatch(events: readonly DirectoryEvent[]): void {
    if (events.length === 0) return;
    for (const { kind, name, version } of events) if (kind === "off") this.#rememberDeparture(foldName(name), version);
    for (const listener of this.#everybody) listener(events);
    if (this.#byName.size === 0) return;
    for (const event of events) for (const listener of this.#byName.get(foldName(event.name)) ?? []) listener([event]);
  }

  #rememberDeparture(name: string, version: number): void {
    this.#departures.delete(name);
    this.#departures.set(name, version);
    const [oldest] = this.#departures.keys();
    if (this.#departures.size > REMEMBERED_DEPARTURES && oldest !== undefined) this.#departures.delete(oldest);
  }

  #forget(names: readonly string[], listener: Listener): void {
    for (const name of names) {
      const listeners = this.#byName.get(name);
      listeners?.delete(listener);
      if (listeners?.size === 0) this.#byName.delete(name);
    }
  }

  #flush(): void {
    if (this.#batch.length === 0) return;
    const events = this.#batch;
    this.#batch = [];
    this.#publish(events);
  }
}
