// Pushes to connections that watch the directory: joins and leaves.
import type { Directory, DirectoryEvent } from "../directory/directory.ts";
import { DirectoryEntry } from "../directory/entry.ts";
import { writeEntry } from "../directory/entry-wire.ts";
import { ReplyWriter } from "../wire/resp-writer.ts";
import type { Connection } from "./connection.ts";

export class Announcer {
  readonly #directory: Pick<Directory, "watch">;
  readonly #onWatching: () => void;
  readonly #watchers = new Set<Connection>();
  readonly #out = new ReplyWriter(4096);
  /** While there are watchers. */
  #subscription: Disposable | null = null;
  /** Events that came while others were pushed; null while none are. */
  #waiting: DirectoryEvent[] | null = null;
  #pushes = 0;

  /** @param onWatching the first watcher has come, or the last has gone */
  constructor(directory: Pick<Directory, "watch">, onWatching: () => void) {
    this.#directory = directory;
    this.#onWatching = onWatching;
  }

  get isWatched(): boolean {
    return this.#subscription !== null;
  }

  get watchers(): number {
    return this.#watchers.size;
  }

  /** Pushes sent so far. */
  get pushes(): number {
    return this.#pushes;
  }

  watch(connection: Connection): void {
    if (connection.watching) return;
    connection.watching = true;
    this.#watchers.add(connection);
    if (this.#subscription !== null) return;
    this.#subscription = this.#directory.watch("everybody", (events) => this.#push(events));
    this.#onWatching();
  }

  unwatch(connection: Connection): void {
    if (!connection.watching) return;
    connection.watching = false;
    this.#watchers.delete(connection);
    if (this.#watchers.size > 0) return;
    this.#subscription?.[Symbol.dispose]();
    this.#subscription = null;
    this.#onWatching();
  }

  /** A watcher that reads too slowly is cut, which is an event itself: it comes behind those that are being pushed. */
  #push(events: readonly DirectoryEvent[]): void {
    if (this.#waiting !== null) {
      this.#waiting.push(...events);
      return;
    }
    for (let next = events; next.length > 0; next = this.#waiting) {
      this.#waiting = [];
      for (const event of next) writePush(this.#out, event);
      const bytes = Buffer.from(this.#out.bytes());
      this.#out.clear();
      for (const watcher of this.#watchers) {
        watcher.push(bytes);
        this.#pushes += next.length;
      }
    }
    this.#waiting = null;
  }
}

function writePush(out: ReplyWriter, event: DirectoryEvent): void {
  if (event.kind === "off") {
    out.push(2);
    out.bulk("left");
    out.bulk(event.name);
    return;
  }
  // A changed entry is pushed as one that has joined: watchers replace what they know of the name.
  writeEntryPush(out, "joined", new DirectoryEntry(event.entry));
}

/** `call`: the client that is about to talk. */
export function callPush(from: DirectoryEntry): Buffer {
  const out = new ReplyWriter(512);
  writeEntryPush(out, "call", from);
  return out.bytes();
}

/** Kind, name, and the whole entry: a watcher needs no LOOKUP. */
function writeEntryPush(out: ReplyWriter, kind: "joined" | "call", entry: DirectoryEntry): void {
  out.push(3);
  out.bulk(kind);
  out.bulk(entry.name);
  writeEntry(out, entry, 3);
}

/** `closing`: why the server is about to close the connection. */
export function closingPush(reason: string): Buffer {
  return pushOf("closing", reason);
}

/** `replaced`: another client of the same key has the name now. */
export function replacedPush(name: string): Buffer {
  return pushOf("replaced", name);
}

/** `probe`: say anything, PING for example. */
export function probePush(): Buffer {
  return pushOf("probe");
}

function pushOf(...words: readonly string[]): Buffer {
  const out = new ReplyWriter(64);
  out.push(words.length);
  for (const word of words) out.bulk(word);
  return out.bytes();
}
