// The file of `ptalk send --file`: offered to each recipient, with a bar at a terminal while it is under way.
import { setMaxListeners } from "node:events";
import type { TalkConnection } from "../client/types.ts";
import { type FileNews, fileJson, filePath, fileText, offerFile, progressBar } from "./files.ts";
import { describeError, jsonLine, note, print } from "./output.ts";
import { clip } from "./terminal/layout.ts";

export interface SendFilesOptions {
  readonly json: boolean;
  readonly signal: AbortSignal;
  readonly timeoutMs: number | undefined;
}

/** @throws the first failure, in the order of the names; prints the others */
export async function sendFiles(
  client: TalkConnection,
  names: readonly string[],
  file: string,
  { json, signal, timeoutMs }: SendFilesOptions,
): Promise<void> {
  const path = filePath(file);
  setMaxListeners(0, signal); // each recipient listens; their number has a bound
  using bar = new Bar();
  const show = (news: FileNews): void => {
    if (json) void print(jsonLine(fileJson(news))).catch(() => {});
    else bar.show(news);
  };
  const outcomes = await Promise.allSettled(
    names.map((to) => offerFile(client, to, path, { signal, timeoutMs, show: (news) => show(news) })),
  );
  signal.throwIfAborted();
  const failures = outcomes.filter((outcome) => outcome.status === "rejected");
  bar.clear();
  if (!json) for (const { reason } of failures.slice(1)) note(describeError(reason).message);
  if (failures[0] !== undefined) throw failures[0].reason;
}

/** One line of stderr, written over and over. Without a terminal nothing. */
class Bar implements Disposable {
  readonly #under = new Map<string, FileNews>();
  #isShown = false;

  show(news: FileNews): void {
    if (news.state === "done") this.#say(news);
    if (news.state === "done" || news.state === "failed" || news.state === "declined") this.#under.delete(news.id);
    else this.#under.set(news.id, news);
    this.#draw();
  }

  clear(): void {
    if (this.#isShown) process.stderr.write("\r\x1b[K");
    this.#isShown = false;
  }

  [Symbol.dispose](): void {
    this.clear();
  }

  #say(news: FileNews): void {
    this.clear();
    const text = fileText(news);
    if (text !== null) void print(text).catch(() => {});
  }

  /** Of several, the one that has come least far. */
  #draw(): void {
    if (!process.stderr.isTTY || process.env.TERM === "dumb") return;
    const [slowest] = [...this.#under.values()].sort((a, b) => a.done - b.done);
    if (slowest === undefined) {
      this.clear();
      return;
    }
    const columns = process.stderr.columns || 80;
    const line = slowest.state === "offered" ? (fileText(slowest) ?? "") : progressBar(slowest, columns - 1);
    process.stderr.write(`\r\x1b[K${clip(line, columns - 1)}`);
    this.#isShown = true;
  }
}
