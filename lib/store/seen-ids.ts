// Which messages were shown here: of one sender's key and id one is, within SEEN_DAYS, by whichever program of this user and whichever
// way it comes. A sender that gave one up, or does not know what became of it, sends it again under the same id.
//
// Each program writes a log of its own (line-journal.ts), and reads those of all when a message says that it may be known; other
// messages cost no reading: a stream hands each over once. A line is the time in seconds and the digest of (key, id),
// so that the log reveals neither senders nor receivers.
import { createHash } from "node:crypto";
import { readdir, readFile, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { LineJournal } from "./line-journal.ts";
import { ownFileName } from "./own-file-name.ts";
import { seenFolder } from "./state-paths.ts";

/** Days in which an id is known. Files go when their last line is older. */
export const SEEN_DAYS = 14;
const DAY_MS = 86_400_000;
const LOG = /^.+\.[0-9a-f]{16}\.seen$/;
/** Bytes of a digest that are kept: a collision is infeasible to find, and a line stays short. */
const DIGEST_BYTES = 18;
/** Milliseconds in which lines gather: one write for a burst. What a SIGKILL may take. */
const GATHER_MS = 20;
/** Of this program's own that are in memory; older ones are in its log. */
const MAX_IN_MEMORY = 65_536;

export interface SeenIdsOptions {
  readonly stateDir: string;
  /** Own name. */
  readonly name: string;
  /** Called once: the log could not be written. */
  readonly onFailure: (error: Error) => void;
}

export class SeenIds {
  readonly #folder: string;
  readonly #journal: LineJournal;
  /** Of this program, oldest first. */
  readonly #own = new Set<string>();
  /** Being shown: fulfilled with whether it was. */
  readonly #showing = new Map<string, Promise<boolean>>();

  constructor({ stateDir, name, onFailure }: SeenIdsOptions) {
    const folder = seenFolder(stateDir);
    this.#folder = folder;
    this.#journal = new LineJournal({
      folder,
      newFileName: () => `${ownFileName(name)}.seen`,
      expire: (except) => expireLogs(folder, except),
      gatherMs: GATHER_MS,
      onFailure,
    });
  }

  /**
   * Whether it was shown. Waits for one that is being shown.
   * @param everywhere looks into the logs of all programs
   * @throws the system's error for logs that cannot be read
   */
  async has(key: Uint8Array, id: string, everywhere: boolean): Promise<boolean> {
    const digest = digestOf(key, id);
    for (let other = this.#showing.get(digest); other; other = this.#showing.get(digest)) if (await other) return true;
    return this.#own.has(digest) || (everywhere && (await this.#isLogged(digest)));
  }

  /**
   * It is about to be shown.
   * @returns what says whether it was, until which has() waits; null if it has been, or is being, shown since has() was asked
   */
  begin(key: Uint8Array, id: string): ((wasShown: boolean) => void) | null {
    const digest = digestOf(key, id);
    if (this.#showing.has(digest) || this.#own.has(digest)) return null;
    let end = (_: boolean): void => {};
    const shown = new Promise<boolean>((resolve) => {
      end = resolve;
    });
    this.#showing.set(digest, shown);
    return (wasShown) => {
      if (this.#showing.get(digest) === shown) this.#showing.delete(digest);
      if (wasShown) {
        this.#remember(digest);
        this.#journal.add(lineOf(digest));
      }
      end(wasShown);
    };
  }

  /** It was shown: fulfilled once that is on the disk. @throws why it is not */
  addSynced(key: Uint8Array, id: string): Promise<void> {
    const digest = digestOf(key, id);
    this.#remember(digest);
    return this.#journal.addSynced(lineOf(digest));
  }

  close(): Promise<void> {
    return this.#journal.close();
  }

  #remember(digest: string): void {
    this.#own.add(digest);
    const [oldest] = this.#own;
    if (this.#own.size > MAX_IN_MEMORY && oldest !== undefined) this.#own.delete(oldest);
  }

  /** A torn or foreign line is none of ours, and hides nothing behind it. */
  async #isLogged(digest: string): Promise<boolean> {
    await this.#journal.written();
    for (const path of await logPaths(this.#folder)) {
      const log = await readFile(path).catch(() => null);
      if (log === null) continue; // expired meanwhile
      const at = log.indexOf(` ${digest}\n`);
      if (at < 0) continue;
      const time = Number(log.toString("latin1", log.lastIndexOf("\n", at) + 1, at)) * 1000;
      if (time > Date.now() - SEEN_DAYS * DAY_MS) return true;
    }
    return false;
  }
}

function digestOf(key: Uint8Array, id: string): string {
  return createHash("sha256").update(key).update(id).digest().toString("base64", 0, DIGEST_BYTES);
}

const lineOf = (digest: string): string => `${Math.floor(Date.now() / 1000)} ${digest}`;

async function logPaths(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((file) => LOG.test(file)).map((file) => join(folder, file));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}

async function expireLogs(folder: string, except: string): Promise<void> {
  for (const path of await logPaths(folder)) {
    const status = path === except ? null : await stat(path).catch(() => null);
    if (status !== null && status.mtimeMs < Date.now() - SEEN_DAYS * DAY_MS) await unlink(path).catch(() => {});
  }
}
