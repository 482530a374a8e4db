// What was said, from all journals, in the order of its time: those of other programs and other hosts too, while they are written.
// Nothing is locked. A broken line is counted and left out, and hides nothing behind it.
import { type FSWatcher, watch } from "node:fs";
import { type FileHandle, stat } from "node:fs/promises";
import { foldName, foldRoom, isRoom } from "../../base/names.ts";
import { MAX_JOURNAL_AGE_MS } from "../line-journal.ts";
import { journalPaths, openJournal } from "./folder.ts";
import { type HistoryRecord, MAX_LINE_BYTES, parseRecord } from "./record.ts";

const CHUNK_BYTES = 256 * 1024;
const NEWLINE = 0x0a;
const NUL = 0x00;
/** Milliseconds between two looks at all journals: what other hosts write on a network file system is told to nobody. */
const POLL_MS = 1_000;
/** Milliseconds by which the clocks of two hosts may differ. */
const CLOCK_SKEW_MS = 3_600_000;

export interface HistoryQuery {
  /** Only what was said with this one, however it is spelled. */
  readonly with?: string | undefined;
  /** Milliseconds since the epoch: from then on, and before then. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  /** Only texts that match. */
  readonly grep?: RegExp | undefined;
  /** Only so many, the latest. */
  readonly last?: number | undefined;
  /** Goes on with what is said from now on, until the signal is aborted. */
  readonly follow?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Lines that were left out, whenever there are some. */
  readonly onBroken?: ((lines: number) => void) | undefined;
}

/**
 * @param folder see state-paths.ts
 * @throws the system's error for a folder or a journal that cannot be read
 */
export async function* readHistory(folder: string, query: HistoryQuery = {}): AsyncGenerator<HistoryRecord, void> {
  const reading = new HistoryReading(folder, query);
  yield* await reading.past();
  if (query.follow) yield* reading.future();
}

class HistoryReading {
  readonly #folder: string;
  readonly #query: HistoryQuery;
  readonly #wanted: (record: HistoryRecord) => boolean;
  /** By path. */
  readonly #journals = new Map<string, JournalReader>();

  constructor(folder: string, query: HistoryQuery) {
    this.#folder = folder;
    this.#query = query;
    this.#wanted = filterOf(query);
  }

  async past(): Promise<HistoryRecord[]> {
    const { last = Number.POSITIVE_INFINITY, follow = false } = this.#query;
    // One list a journal, that of the newest first.
    let lists: HistoryRecord[][] = [];
    for (const { path, changedAt } of await this.#newestFirst()) {
      // Its last record is no later than its last change: the ones that we have are all later.
      const [found = []] = lists;
      const isEnough = found.length >= last && (found[0]?.at ?? 0) > changedAt + CLOCK_SKEW_MS;
      const journal = new JournalReader(path);
      this.#journals.set(path, journal);
      if (isEnough) journal.skip((await stat(path).catch(() => null))?.size ?? 0);
      else lists.push(await this.#read(journal, !follow));
      if (Number.isFinite(last)) lists = [latest(lists, last)];
    }
    return latest(lists, last);
  }

  async *future(): AsyncGenerator<HistoryRecord, void> {
    const { signal } = this.#query;
    using changes = new Changes(this.#folder, signal);
    while (!signal?.aborted) {
      const lists: HistoryRecord[][] = [];
      for (const { path, changedAt } of await this.#newestFirst()) {
        const known = this.#journals.get(path);
        // Its writer has left it long ago.
        if (known !== undefined && changedAt < Date.now() - MAX_JOURNAL_AGE_MS - CLOCK_SKEW_MS) continue;
        const journal = known ?? new JournalReader(path);
        this.#journals.set(path, journal);
        lists.push(await this.#read(journal, false));
      }
      yield* latest(lists, Number.POSITIVE_INFINITY);
      await changes.next();
    }
  }

  async #read(journal: JournalReader, toItsEnd: boolean): Promise<HistoryRecord[]> {
    const { records, broken } = await journal.read(this.#wanted, toItsEnd);
    if (broken > 0) this.#query.onBroken?.(broken);
    return records;
  }

  async #newestFirst(): Promise<{ path: string; changedAt: number }[]> {
    const journals: { path: string; changedAt: number }[] = [];
    for (const path of await journalPaths(this.#folder)) {
      const status = await stat(path).catch(() => null);
      if (status !== null) journals.push({ path, changedAt: status.mtimeMs });
    }
    return journals.sort((a, b) => b.changedAt - a.changedAt);
  }
}

/** One journal, read on from where it was left. */
class JournalReader {
  readonly #path: string;
  #offset = 0;
  #rest: Buffer = Buffer.alloc(0);
  /** A line is longer than any record: what comes up to its end is left out. */
  #isTooLong = false;

  constructor(path: string) {
    this.#path = path;
  }

  skip(bytes: number): void {
    this.#offset = bytes;
  }

  /** @param toItsEnd a last line without its end counts: nobody goes on with it, or not for us */
  async read(
    wanted: (record: HistoryRecord) => boolean,
    toItsEnd: boolean,
  ): Promise<{ records: HistoryRecord[]; broken: number }> {
    const records: HistoryRecord[] = [];
    let broken = 0;
    const take = (line: Buffer): void => {
      if (line.length === 0) return;
      const record = parseRecord(line);
      if (record === null) broken++;
      else if (wanted(record)) records.push(record);
    };
    const file = await openJournal(this.#path);
    if (file === null) return { records, broken };
    try {
      for await (const line of this.#lines(file)) {
        if (line === TOO_LONG) broken++;
        // A power cut leaves NULs in place of what was not on the disk yet; no record holds one.
        else if (line.includes(NUL)) {
          broken++;
          for (const piece of piecesBetweenNuls(line)) if (parseRecord(piece) !== null) take(piece);
        } else take(line);
      }
    } finally {
      await file.close();
    }
    if (toItsEnd) {
      take(this.#rest);
      this.#rest = Buffer.alloc(0);
    }
    return { records, broken };
  }

  async *#lines(file: FileHandle): AsyncGenerator<Buffer, void> {
    for (;;) {
      const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES, this.#offset);
      if (bytesRead === 0) return;
      this.#offset += bytesRead;
      let start = 0;
      const chunk = buffer.subarray(0, bytesRead);
      for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
        const line = Buffer.concat([this.#rest, chunk.subarray(start, end)]);
        this.#rest = Buffer.alloc(0);
        start = end + 1;
        if (this.#isTooLong) this.#isTooLong = false;
        else yield line;
      }
      if (this.#isTooLong) continue;
      this.#rest = Buffer.concat([this.#rest, chunk.subarray(start)]);
      if (this.#rest.length <= MAX_LINE_BYTES) continue;
      this.#rest = Buffer.alloc(0);
      this.#isTooLong = true;
      yield TOO_LONG;
    }
  }
}

const TOO_LONG = Buffer.alloc(0);

function piecesBetweenNuls(line: Buffer): Buffer[] {
  const pieces: Buffer[] = [];
  let start = 0;
  for (let end = line.indexOf(NUL); end !== -1; end = line.indexOf(NUL, start)) {
    if (end > start) pieces.push(line.subarray(start, end));
    start = end + 1;
  }
  return [...pieces, line.subarray(start)];
}

/** When to look again: something has changed in the folder, or a second has passed. */
class Changes implements Disposable {
  readonly #signal: AbortSignal | undefined;
  #watcher: FSWatcher | undefined;
  #hasChanged = false;
  #wake = (): void => {};

  constructor(folder: string, signal: AbortSignal | undefined) {
    this.#signal = signal;
    signal?.addEventListener("abort", this.#onChange);
    try {
      this.#watcher = watch(folder, this.#onChange).on("error", () => this.#watcher?.close());
    } catch {
      // There is no such folder yet, or no room for one more watch: looking each second has to do.
    }
  }

  async next(): Promise<void> {
    if (!this.#hasChanged && !this.#signal?.aborted) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        timer = setTimeout(resolve, POLL_MS);
      });
      clearTimeout(timer);
    }
    this.#hasChanged = false;
  }

  [Symbol.dispose](): void {
    this.#signal?.removeEventListener("abort", this.#onChange);
    this.#watcher?.close();
  }

  readonly #onChange = (): void => {
    this.#hasChanged = true;
    this.#wake();
  };
}

/** The partner of a message in a room is the room, not its sender. */
function partnerOf({ with: other, room }: HistoryRecord): string {
  return room === null ? foldName(other) : foldRoom(room);
}

function filterOf({ with: other, since, until, grep }: HistoryQuery): (record: HistoryRecord) => boolean {
  const folded = other === undefined ? undefined : isRoom(other) ? foldRoom(other) : foldName(other);
  // One that remembers where it stopped would pass every other match over.
  const pattern = grep && new RegExp(grep.source, grep.flags.replace(/[gy]/g, ""));
  return (record) =>
    (folded === undefined || partnerOf(record) === folded) &&
    (since === undefined || record.at >= since) &&
    (until === undefined || record.at < until) &&
    (pattern === undefined || pattern.test(record.text));
}

/**
 * The latest of all records, in the order of their time; of one millisecond, in that of their journals.
 * @param lists one a journal, that of the newest first
 */
function latest(lists: readonly HistoryRecord[][], count: number): HistoryRecord[] {
  const sorted = lists
    .toReversed()
    .flat()
    .sort((a, b) => a.at - b.at);
  return count < sorted.length ? sorted.slice(-count) : sorted;
}
