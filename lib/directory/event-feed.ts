// The events of one worker's directory. Events that happen here go to the listeners at once, and are published for the other
// workers in batches. Events of other workers come in the order of each worker, but those of two workers about one name may
// come in any order. The row that is there now tells which of them still say something.
import { foldName, foldRoom } from "../base/names.ts";
import { isLaterVersion } from "./claim-rules.ts";
import type { DirectoryEvent, DirectoryRow, Interest } from "./directory.ts";
import { DirectoryEntry } from "./entry.ts";
import { roomsOf } from "./entry-index.ts";

type Listener = (events: readonly DirectoryEvent[]) => void;

/** One call of watch(). The same listener may be in several. */
interface Subscription {
  readonly listener: Listener;
}

/** Names whose last event is remembered: more than there are events while one of another worker is on its way. */
const REMEMBERED_NAMES = 4096;
/** Events of one batch; a full one leaves at once. */
const BATCH_EVENTS = 256;

export class EventFeed {
  readonly #publish: (events: readonly DirectoryEvent[]) => void;
  readonly #everybody = new Set<Subscription>();
  /** By folded name, or room. */
  readonly #byKey = new Map<string, Set<Subscription>>();
  /** The last event that listeners heard, by folded name; the oldest first. */
  readonly #heard = new Map<string, Pick<DirectoryEvent, "kind" | "version">>();
  #batch: DirectoryEvent[] = [];

  constructor(publish: (events: readonly DirectoryEvent[]) => void) {
    this.#publish = publish;
  }

  watch(interest: Interest, listener: Listener): Disposable {
    const subscription = { listener };
    if (interest === "everybody") {
      this.#everybody.add(subscription);
      return { [Symbol.dispose]: () => this.#everybody.delete(subscription) };
    }
    const { names = [], rooms = [] } = interest;
    const keys = [...names.map(foldName), ...rooms.map(foldRoom)];
    for (const key of keys) {
      const subscriptions = this.#byKey.get(key);
      if (subscriptions === undefined) this.#byKey.set(key, new Set([subscription]));
      else subscriptions.add(subscription);
    }
    return { [Symbol.dispose]: () => this.#unsubscribe(keys, subscription) };
  }

  /** This has happened here. */
  emit(event: DirectoryEvent): void {
    if (this.#batch.length === 0) setImmediate(() => this.#flush());
    this.#batch.push(event);
    if (this.#batch.length === BATCH_EVENTS) this.#flush();
    this.#dispatch([event]);
  }

  /**
   * Other workers have published these.
   * @param find the row that is there under a name now
   */
  deliver(events: readonly DirectoryEvent[], find: (name: string) => DirectoryRow | null): void {
    if (this.#everybody.size === 0 && this.#byKey.size === 0) return;
    this.#dispatch(events.filter((event) => this.#isNews(event, find(event.name))));
  }

  close(): void {
    this.#flush();
    this.#everybody.clear();
    this.#byKey.clear();
  }

  #isNews({ kind, name, version }: DirectoryEvent, row: DirectoryRow | null): boolean {
    const heard = this.#heard.get(foldName(name));
    // A row is there before its event is published. Without it the client has left again. A later one does not make this event
    // old while that one's is on its way: a client that came and changed at once has come.
    if (kind !== "off") return row !== null && (heard === undefined || !isLaterVersion(heard.version, version));
    if (row !== null) return false;
    if (heard === undefined || isLaterVersion(version, heard.version)) return true;
    return heard.version === version && heard.kind !== "off";
  }

  #dispatch(events: readonly DirectoryEvent[]): void {
    if (events.length === 0) return;
    for (const event of events) this.#remember(event);
    for (const subscription of this.#everybody) report(subscription, events);
    if (this.#byKey.size === 0) return;
    const concerned = new Map<Subscription, DirectoryEvent[]>();
    for (const event of events) {
      for (const key of keysOf(event)) {
        for (const subscription of this.#byKey.get(key) ?? []) {
          const several = concerned.get(subscription);
          if (several === undefined) concerned.set(subscription, [event]);
          else if (several.at(-1) !== event) several.push(event);
        }
      }
    }
    for (const [subscription, several] of concerned) report(subscription, several);
  }

  #remember({ kind, name, version }: DirectoryEvent): void {
    const folded = foldName(name);
    this.#heard.delete(folded);
    this.#heard.set(folded, { kind, version });
    const [oldest] = this.#heard.keys();
    if (this.#heard.size > REMEMBERED_NAMES && oldest !== undefined) this.#heard.delete(oldest);
  }

  #unsubscribe(keys: readonly string[], subscription: Subscription): void {
    for (const key of keys) {
      const subscriptions = this.#byKey.get(key);
      subscriptions?.delete(subscription);
      if (subscriptions?.size === 0) this.#byKey.delete(key);
    }
  }

  #flush(): void {
    if (this.#batch.length === 0) return;
    const events = this.#batch;
    this.#batch = [];
    this.#publish(events);
  }
}

/** What an interest names, of an event: the name, and rooms of the client before and after. All folded. */
export function keysOf(event: DirectoryEvent): string[] {
  const rooms = event.kind === "off" ? [] : roomsOf(new DirectoryEntry(event.entry));
  return [foldName(event.name), ...rooms, ...(event.leftRooms ?? [])];
}

/** A listener's fault is an uncaught exception of its own: the change that it hears of has happened. */
function report({ listener }: Subscription, events: readonly DirectoryEvent[]): void {
  try {
    listener(events);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
