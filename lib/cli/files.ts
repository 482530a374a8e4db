// Files in the commands: the news of each file, in order, as a view or a script shows them.
import { randomUUID } from "node:crypto";
import { isAbsolute, join } from "node:path";
import stringWidth from "fast-string-width";
import { TalkError } from "../base/errors.ts";
import { ownHome } from "../base/files.ts";
import type { FileOffer, FileProgress, ReceivedFile, SendFileResult, TalkConnection } from "../client/types.ts";
import { escapeControls } from "./escape-controls.ts";
import { describeError } from "./output.ts";
import { clip } from "./terminal/layout.ts";
import { duration } from "./times.ts";

/** Milliseconds between two reports of how far a file has come. */
const REPORT_MS = 250;

/** What has become of a file by now. */
export interface FileNews {
  readonly id: string;
  readonly state: FileProgress["state"] | "declined" | "done" | "failed";
  readonly direction: "in" | "out";
  /** Its receiver, or its sender. */
  readonly with: string;
  readonly name: string;
  /** Null while it has not been read. */
  readonly size: number | null;
  readonly done: number;
  readonly sha256: string | null;
  /** Where it is here: null for one that comes and has no name yet. */
  readonly path: string | null;
  readonly code: string | null;
  /** A sentence; null for what needs none. */
  readonly message: string | null;
  readonly verified: boolean;
  /** From the acceptance on; 0 before. */
  readonly ms: number;
}

/** The line of `--json`. */
export interface FileJson {
  readonly type: "file";
  readonly id: string;
  readonly state: FileNews["state"];
  readonly from?: string;
  readonly to?: string;
  readonly name: string;
  readonly size: number | null;
  readonly done: number;
  readonly sha256: string | null;
  readonly path: string | null;
  readonly code: string | null;
}

export function fileJson(news: FileNews): FileJson {
  const { id, state, direction, with: other, name, size, done, sha256, path, code } = news;
  const who = direction === "in" ? { from: other } : { to: other };
  return { type: "file", id, state, ...who, name, size, done, sha256, path, code };
}

type Show = (news: FileNews) => void;

export interface OfferFileOptions {
  readonly signal: AbortSignal;
  readonly timeoutMs?: number | undefined;
  readonly show: Show;
}

/** Sends a file, and shows what becomes of it. @throws as TalkClient.sendFile(); that is shown too */
export async function offerFile(
  client: TalkConnection,
  to: string,
  path: string,
  { signal, timeoutMs, show }: OfferFileOptions,
): Promise<SendFileResult> {
  const file = new Shown(
    { id: randomUUID(), direction: "out", with: to, name: baseName(path), path, verified: true },
    show,
  );
  const limit = timeoutMs === undefined ? {} : { timeoutMs };
  return await file.follow(
    (onProgress) => client.sendFile(to, path, { signal, onProgress, id: file.id, ...limit }),
    () => path,
  );
}

export interface TakeFileOptions {
  readonly signal: AbortSignal;
  readonly maxSize?: number | undefined;
  readonly show: Show;
}

/** Takes a file that is offered, and shows what becomes of it. @throws as FileOffer.accept(); that is shown too */
export async function takeFile(
  offer: FileOffer,
  directory: string,
  { signal, maxSize, show }: TakeFileOptions,
): Promise<ReceivedFile> {
  const { id, from, name, size, sha256, verified } = offer;
  const file = new Shown({ id, direction: "in", with: from, name, size, sha256, path: null, verified }, show);
  const limit = maxSize === undefined ? {} : { maxSize };
  return await file.follow(
    (onProgress) => offer.accept(directory, { signal, onProgress, ...limit }),
    ({ path }) => path,
  );
}

/** The offer itself, and one that comes to nothing. */
export function offerNews(offer: FileOffer, state: "offered" | "declined" | "failed"): FileNews {
  const { id, from, name, size, sha256, verified } = offer;
  return {
    ...{ id, state, direction: "in", with: from, name, size, done: 0, sha256, path: null },
    ...{ code: null, message: null, verified, ms: 0 },
  };
}

class Shown {
  readonly id: string;
  readonly #show: Show;
  #news: FileNews;
  #since = 0;
  #shownAt = 0;

  constructor(
    known: Pick<FileNews, "id" | "direction" | "with" | "name" | "path" | "verified"> & Partial<FileNews>,
    show: Show,
  ) {
    this.id = known.id;
    this.#show = show;
    this.#news = {
      ...{ state: "offered", size: null, done: 0, sha256: null, code: null, message: null, ms: 0 },
      ...known,
    };
  }

  async follow<T>(begin: (onProgress: (progress: FileProgress) => void) => Promise<T>, pathOf: (result: T) => string) {
    try {
      const result = await begin((progress) => this.#onProgress(progress));
      this.#tell({ state: "done", done: this.#news.size ?? 0, path: pathOf(result) });
      return result;
    } catch (error) {
      const { code, message } = describeError(error);
      this.#tell({ state: isDeclined(error) ? "declined" : "failed", code, message });
      throw error;
    }
  }

  #onProgress({ state, name, size, done, sha256 }: FileProgress): void {
    const now = performance.now();
    if (state === "accepted" && this.#since === 0) this.#since = now;
    if (state === "progress" && now < this.#shownAt + REPORT_MS) this.#news = { ...this.#news, done };
    else {
      this.#shownAt = now;
      this.#tell({ state, name, size, done, sha256 });
    }
  }

  #tell(change: Partial<FileNews>): void {
    const ms = this.#since === 0 ? 0 : performance.now() - this.#since;
    this.#news = { ...this.#news, ...change, ms };
    this.#show(this.#news);
  }
}

const isDeclined = (error: unknown): boolean => error instanceof TalkError && error.code === "declined";

function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** "~/" is the home of the user. @throws TalkError usage */
export function filePath(text: string): string {
  if (text.includes("\0")) throw TalkError.usage(`${JSON.stringify(text)} is no path`);
  if (!text.startsWith("~/")) return isAbsolute(text) ? text : join(process.cwd(), text);
  const home = ownHome(process.env);
  if (home === null) throw TalkError.usage(`${text}: this user has no home`);
  return join(home, text.slice(2));
}

const UNITS = ["bytes", "kB", "MB", "GB", "TB"] as const;

/** Bytes for people, in powers of 1000: "812 bytes", "1.2 MB". */
export function byteCount(bytes: number): string {
  let [value, unit] = [bytes, 0];
  while (value >= 999.95 && unit < UNITS.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`;
}

/** What a person reads of it; null where a program only is interested. */
export function fileText(news: FileNews): string | null {
  const { state, direction, with: other, name, size, ms, path, message, verified } = news;
  const what = `${escapeControls(name)}${size === null ? "" : ` (${byteCount(size)})`}`;
  const who = `${escapeControls(other)}${verified ? "" : "?"}`;
  switch (state) {
    case "offered":
      return direction === "in" ? `${who} offers ${what}` : `${what} is offered to ${who}`;
    case "accepted":
      return direction === "in" ? null : `${who} accepts ${what}`;
    case "progress":
      return null;
    case "declined":
      return message === null ? `${what} of ${who} is declined` : escapeControls(message);
    case "done":
      return direction === "in"
        ? `${who} sent ${what}: ${escapeControls(path ?? "")}`
        : `delivered ${what} to ${who} (${duration(ms)})`;
    case "failed":
      return direction === "in" ? `${what} of ${who}: ${escapeControls(message ?? "")}` : escapeControls(message ?? "");
  }
}

/** Columns of a bar: where there is room, and where there is not. */
const BAR = { wide: 24, narrow: 10 };
const MIN_NAME_COLUMNS = 8;

/**
 * "report.txt  [######------------------]   25 %  of 4.8 MB  12.3 MB/s". In a narrow terminal size and speed go first, then the bar is
 * shorter, then the name is cut: how far the file has come can be read in any.
 */
export function progressBar({ name, size, done, ms }: FileNews, columns: number): string {
  const share = size === null || size === 0 ? 0 : done / size;
  const speed = ms > 0 ? `  ${byteCount((done / ms) * 1000)}/s` : "";
  const percent = `${Math.floor(share * 100)} %`.padStart(5);
  const shown = escapeControls(name);
  const wide = `  ${barOf(share, BAR.wide)}  ${percent}`;
  for (const row of [`${shown}${wide}  of ${byteCount(size ?? 0)}${speed}`, `${shown}${wide}`]) {
    if (stringWidth(row) <= columns) return row;
  }
  const narrow = `  ${barOf(share, BAR.narrow)}  ${percent}`;
  return clip(shown, Math.max(MIN_NAME_COLUMNS, columns - narrow.length)) + narrow;
}

function barOf(share: number, width: number): string {
  const full = Math.floor(share * width);
  return `[${"#".repeat(full)}${"-".repeat(width - full)}]`;
}
