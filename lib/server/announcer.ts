// Who has come and gone: told to this worker's watchers at once, and to the other workers in batches through the primary.
import { foldName } from "../base/names.ts";
import { type ClientEntry, writeClientEntry } from "../directory/entry-wire.ts";
import { isLaterVersion } from "../directory/shm/table-repair.ts";
import { ReplyWriter } from "../wire/resp-writer.ts";
import type { Connection } from "./connection.ts";
import { EVENTS_PER_MESSAGE } from "./limits.ts";
import type { DirectoryEvent, SendToPrimary } from "./messages.ts";

/** News overtake each other by milliseconds: this many names are more than leave in that time. */
const REMEMBERED = 4096;

export class Announcer {
  readonly #watchers = new Set<Connection>();
  readonly #send: SendToPrimary;
  readonly #out = new ReplyWriter(4096);
  /** Who left last, and which record it was. */
  readonly #left = new Map<string, number>();
  #batch: DirectoryEvent[] = [];
  #telling = false;
  #toldWatching = false;

  constructor(send: SendToPrimary) {
    this.#send = send;
  }

  watch(connection: Connection): void {
    if (connection.watching) return;
    connection.watching = true;
    this.#watchers.add(connection);
    this.#tellWatching();
  }

  unwatch(connection: Connection): void {
    if (!connection.watching) return;
    connection.watching = false;
    this.#watchers.delete(connection);
    this.#tellWatching();
  }

  /** One message at a time: of a connection that watches and unwatches in a loop only the last state counts. */
  #tellWatching(): void {
    const on = this.#watchers.size > 0;
    if (this.#telling || on === this.#toldWatching) return;
    this.#telling = true;
    this.#toldWatching = on;
    void this.#send({ type: "watching", on }).then(() => {
      this.#telling = false;
      this.#tellWatching();
    });
  }

  /** Tells everybody what happened here. */
  announce(event: DirectoryEvent): void {
    this.tell([event]);
    if (this.#batch.length === 0) setImmediate(() => this.#flush());
    this.#batch.push(event);
    if (this.#batch.length === EVENTS_PER_MESSAGE) this.#flush();
  }

  /**
   * Tells this worker's watchers what happened at other workers. Their news travel on different roads, so what happened to one
   * name there and here may arrive in the wrong order: what is known to be overtaken is not told.
   * @param on version of the record that is on under that name now, null if none is
   */
  tellOfOthers(events: readonly DirectoryEvent[], on: (name: string) => number | null): void {
    if (this.#watchers.size === 0) return;
    this.tell(
      events.filter((event) => {
        // Who is on under that name is a later client, whose coming is told, too.
        if (event.kind === "left") return on(event.name) === null;
        const { name } = event.client;
        const [left, now] = [this.#left.get(foldName(name)), on(name)];
        if (left !== undefined && !isLaterVersion(event.version, left)) return false;
        return now === null || !isLaterVersion(now, event.version);
      }),
    );
  }

  /** Tells this worker's watchers. */
  tell(events: readonly DirectoryEvent[]): void {
    if (this.#watchers.size === 0) return;
    for (const event of events) {
      if (event.kind === "left") this.#remember(event.name, event.version);
      writePush(this.#out, event);
    }
    const bytes = Buffer.from(this.#out.bytes());
    this.#out.clear();
    for (const watcher of this.#watchers) watcher.push(bytes);
  }

  #remember(name: string, version: number): void {
    const folded = foldName(name);
    this.#left.delete(folded);
    this.#left.set(folded, version);
    if (this.#left.size > REMEMBERED) this.#left.delete(this.#left.keys().next().value as string);
  }

  #flush(): void {
    if (this.#batch.length === 0) return;
    const events = this.#batch;
    this.#batch = [];
    void this.#send({ type: "events", events });
  }
}

function writePush(out: ReplyWriter, event: DirectoryEvent): void {
  if (event.kind === "joined") {
    writeClientPush(out, "joined", event.client);
    return;
  }
  out.push(2);
  out.bulk("left");
  out.bulk(event.name);
}

/** `call`: the client that is about to talk. */
export function callPush(from: ClientEntry): Buffer {
  const out = new ReplyWriter(512);
  writeClientPush(out, "call", from);
  return out.bytes();
}

/** Kind, name, and the whole entry for who wants it. */
function writeClientPush(out: ReplyWriter, kind: "joined" | "call", client: ClientEntry): void {
  out.push(3);
  out.bulk(kind);
  out.bulk(client.name);
  writeClientEntry(out, client, 3);
}

/** `closing`: why the server is about to close the connection. */
export function closingPush(reason: string): Buffer {
  const out = new ReplyWriter(64);
  out.push(2);
  out.bulk("closing");
  out.bulk(reason);
  return out.bytes();
}

/** `probe`: say anything, PING for example. */
export function probePush(): Buffer {
  const out = new ReplyWriter(64);
  out.push(1);
  out.bulk("probe");
  return out.bytes();
}
