// One file that a peer offers, and then sends. Owns the bytes to be written, the part on the disk, and the outcome.
// Knows no events.
//
//  1. accept(): an earlier part is hashed again, and the sender hears from where to go on. Or decline().
//  2. onData(): keeps the bytes until they are on the disk, and tells the sender how far that is; it sends no more than
//     a window beyond.
//  3. onControl("end"): all of it is there. The hash is checked, the file synced and given its name, and the sender hears "done".
// A part that broke off is kept for the next attempt; a file that differs from the offer is not.
import { setMaxListeners } from "node:events";
import { debuglog } from "node:util";
import { Deferred } from "../base/async.ts";
import type { Endpoint } from "../base/endpoint.ts";
import { TalkError } from "../base/errors.ts";
import { systemCode, systemMessage } from "../base/system-error.ts";
import type { PeerTransport } from "../peer/transport.ts";
import { PartFile } from "../store/files/parts.ts";
import { safeFileName } from "../store/files/place.ts";
import {
  encodeFileControl,
  type FileControlBody,
  type FileDataBody,
  type FileOfferBody,
  type FileStep,
} from "../wire/file-bodies.ts";
import { FILE_ASK_MS, FILE_STEP_MS, FILE_WINDOW_BYTES, stepTimeout } from "./outgoing-file.ts";
import type { AcceptFileOptions, FileOffer, FileProgress, ReceivedFile } from "./types.ts";

const debug = debuglog("ptalk-client");

/** The largest file that is taken unless told otherwise. */
export const DEFAULT_MAX_FILE_BYTES = 1024 ** 3;
/** The sender hears at least so often how far its file has come. */
const REPORT_BYTES = FILE_WINDOW_BYTES / 4;
/** Bytes that are written at once; less, at the end of the file. */
const WRITE_BYTES = FILE_WINDOW_BYTES / 16;
/** Milliseconds without a word from a sender whose offer is unanswered: it asks more often than that. */
const FORGOTTEN_MS = 12 * FILE_ASK_MS;

export interface IncomingFileParts {
  readonly offer: FileOfferBody;
  /** The sender's key, its address, and what is known of it. */
  readonly key: Buffer;
  readonly address: Endpoint;
  readonly fingerprint: string;
  readonly verified: boolean;
  /** Folder of the parts. */
  readonly folder: string;
  readonly transport: Pick<PeerTransport, "sendBody">;
  /** Fulfilled when no other transfer of the same file has its part. */
  readonly untilFree: (file: IncomingFile) => Promise<void>;
  /** It is over: nothing about it is expected any more. */
  readonly onEnd: () => void;
}

export class IncomingFile implements FileOffer {
  readonly at = Date.now();
  readonly #parts: IncomingFileParts;
  readonly #done = new Deferred<string>();
  readonly #stop = new AbortController();
  readonly #withdrawn = new AbortController();
  #state: "offered" | "accepted" | "ended" | "over" = "offered";
  #isAnswered = false;
  #address: Endpoint;
  #heardAt = performance.now();
  #onProgress: ((progress: FileProgress) => void) | undefined;
  #directory = "";
  #part: PartFile | null = null;
  #hasResumed = false;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** Of the next DATA. */
  #expected = 0;
  #reported = 0;
  #isBusy = false;
  #isPlacing = false;
  /** The content of the part is not worth keeping. */
  #isUseless = false;
  #outcome: { readonly value: unknown } | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: IncomingFileParts) {
    this.#parts = parts;
    this.#address = parts.address;
    setMaxListeners(0, this.#stop.signal); // each report under way listens
    this.#watch();
  }

  get id(): string {
    return this.#parts.offer.id;
  }
  get from(): string {
    return this.#parts.offer.from;
  }
  get name(): string {
    return safeFileName(this.#parts.offer.name);
  }
  get size(): number {
    return this.#parts.offer.size;
  }
  get sha256(): string {
    return this.#parts.offer.sha256.toString("hex");
  }
  get fingerprint(): string {
    return this.#parts.fingerprint;
  }
  get verified(): boolean {
    return this.#parts.verified;
  }
  get withdrawn(): AbortSignal {
    return this.#withdrawn.signal;
  }
  /** Milliseconds since its sender was heard of. */
  get silentMs(): number {
    return performance.now() - this.#heardAt;
  }
  /** Identifies the file, whatever its name: the same for each attempt to send it. */
  get identity(): string {
    const { key, offer } = this.#parts;
    return `${key.toString("base64")} ${offer.size} ${this.sha256}`;
  }
  /** The part is in use. */
  get hasPart(): boolean {
    return this.#part !== null;
  }
  /** Fulfilled when nothing more is done with the part. */
  get ended(): Promise<unknown> {
    return this.#done.promise.catch(() => {});
  }

  async accept(directory: string, options: AcceptFileOptions = {}): Promise<ReceivedFile> {
    if (typeof directory !== "string" || directory === "") throw misuse("directory", "a path");
    const { signal, onProgress, maxSize = DEFAULT_MAX_FILE_BYTES } = options;
    if (!(maxSize >= 0)) throw misuse("maxSize", "a number of bytes");
    const since = performance.now();
    this.#answer();
    if (this.size > maxSize) {
      const reason = `it takes files of at most ${maxSize} bytes, not ${this.size}`;
      this.#refuse(reason);
      throw TalkError.declined(this.from, `the file ${JSON.stringify(this.name)}: ${reason}`);
    }
    const onAbort = (): void => this.#fail(signal?.reason);
    if (signal?.aborted) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
    this.#onProgress = onProgress;
    this.#directory = directory;
    try {
      if (this.#outcome === null) this.#work(() => this.#begin());
      const path = await this.#done.promise;
      const ms = Math.round((performance.now() - since) * 1000) / 1000;
      const { id, from, name, size, sha256 } = this;
      return { id, from, name, size, sha256, path, ms };
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  decline(reason = ""): void {
    this.#answer();
    this.#refuse(reason);
  }

  /** @returns false when that is too much, or nothing that was asked for: the sender is broken, or hostile */
  onData({ offset, bytes }: FileDataBody, address: Endpoint): boolean {
    this.#heard(address);
    if (this.#state !== "accepted" || this.#part === null) return this.#state !== "offered";
    if (offset !== this.#expected) return true; // from before it began anew
    if (bytes.length === 0 || offset + bytes.length > this.size) return this.#isBroken();
    if (this.#waitingBytes + bytes.length > 2 * FILE_WINDOW_BYTES) return this.#isBroken();
    this.#expected += bytes.length;
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    // A few at a time: each call of the file system costs as much as what it writes.
    if (this.#isWorthWriting) this.#work();
    return true;
  }

  get #isWorthWriting(): boolean {
    return this.#waitingBytes >= WRITE_BYTES || (this.#waiting.length > 0 && this.#expected === this.size);
  }

  onControl({ step, offset, reason }: FileControlBody, address: Endpoint): void {
    this.#heard(address);
    if (step === "failed" && !this.#isPlacing) {
      this.#end(TalkError.notDelivered(this.name, reason === "" ? "its sender gave it up" : reason));
    } else if (step === "end" && this.#state === "accepted" && offset === this.size && this.#expected === this.size) {
      this.#state = "ended";
      this.#work();
    }
  }

  /** Gives it up, if it is not over, and tells the sender. Fulfilled when the part is closed. */
  async close(reason: Error): Promise<void> {
    this.#fail(reason);
    await this.ended;
  }

  #answer(): void {
    if (this.#state === "over") throw TalkError.notDelivered(this.name, "its sender has withdrawn the offer");
    if (this.#isAnswered) throw new TalkError("usage", "the offer has been answered");
    this.#isAnswered = true;
  }

  #refuse(reason: string): void {
    this.#sayLast("decline", reason);
    this.#end(TalkError.declined(this.from, "the file is not wanted"));
  }

  async #begin(): Promise<void> {
    const { offer, key, folder } = this.#parts;
    await this.#parts.untilFree(this);
    if (this.#outcome !== null) return;
    const part = await PartFile.open(folder, { key, size: offer.size, sha256: offer.sha256 });
    this.#part = part;
    if (this.#outcome !== null) return;
    const length = await part.resume();
    if (this.#outcome !== null) return;
    this.#hasResumed = length > 0;
    this.#askFrom(length);
  }

  #askFrom(offset: number): void {
    this.#state = "accepted";
    this.#expected = offset;
    this.#reported = offset;
    this.#tell("accepted");
    this.#say("accept", offset).catch((error: unknown) => this.#fail(error));
  }

  /** Does one thing with the part at a time, then what has come up meanwhile. */
  #work(task: () => Promise<void> = () => this.#writeAll()): void {
    if (this.#isBusy) return;
    this.#isBusy = true;
    task()
      .catch((error: unknown) => this.#fail(error))
      .finally(() => {
        this.#isBusy = false;
        if (this.#outcome !== null) void this.#close();
        else if (this.#isWorthWriting || this.#state === "ended") this.#work();
      });
  }

  async #writeAll(): Promise<void> {
    const part = this.#part as PartFile;
    while (this.#waiting.length > 0) {
      const chunks = this.#waiting;
      this.#waiting = [];
      await part.write(chunks);
      for (const { length } of chunks) this.#waitingBytes -= length;
      if (this.#outcome !== null) return;
      if (part.length - this.#reported >= REPORT_BYTES) this.#report(part.length);
    }
    if (this.#state === "ended") await this.#finish(part);
  }

  #report(length: number): void {
    this.#reported = length;
    this.#tell("progress");
    this.#say("written", length).catch((error: unknown) => this.#fail(error));
  }

  async #finish(part: PartFile): Promise<void> {
    if (part.isWhole()) {
      if (part.length > this.#reported) this.#report(part.length);
      this.#isPlacing = true; // whatever else ends it now, the file may have its name
      const placing = part.place(this.#directory, this.#parts.offer.name).finally(() => {
        this.#isPlacing = false;
      });
      const path = await placing;
      this.#part = null;
      this.#sayLast("done");
      this.#end({ path });
    } else if (this.#hasResumed) {
      this.#hasResumed = false; // the part was damaged: once more, from the beginning
      await part.restart();
      if (this.#outcome === null) this.#askFrom(0);
    } else {
      this.#sayLast("failed", "what arrived is not what was offered");
      this.#isUseless = true;
      this.#end(TalkError.badData(`the file ${JSON.stringify(this.name)} is not what was offered`));
    }
  }

  #heard(address: Endpoint): void {
    this.#address = address;
    this.#heardAt = performance.now();
  }

  #isBroken(): false {
    this.#isUseless = true;
    this.#end(TalkError.badData(`the sender of ${JSON.stringify(this.name)} breaks the protocol`));
    return false;
  }

  /** A sender that says nothing is asked; one whose offer waits asks by itself. */
  #watch(): void {
    this.#timer = setTimeout(() => {
      const { silentMs } = this;
      if (this.#state === "offered") {
        if (silentMs > FORGOTTEN_MS && !this.#isAnswered) {
          this.#end(TalkError.notDelivered(this.name, "its sender has gone"));
          return;
        }
      } else if (silentMs >= FILE_ASK_MS) {
        this.#say("alive", this.#expected).catch((error: unknown) => this.#fail(error));
      }
      this.#watch();
    }, FILE_ASK_MS);
  }

  async #say(step: FileStep, offset = 0, reason = ""): Promise<void> {
    const body = encodeFileControl(this.id, step, offset, reason);
    if (body === null) return;
    await this.#parts.transport.sendBody(this.#peer, body, { timeoutMs: stepTimeout(step), signal: this.#stop.signal });
    this.#heardAt = performance.now();
  }

  /** Whatever becomes of it: this end has nothing more to do. */
  #sayLast(step: FileStep, reason = ""): void {
    const body = encodeFileControl(this.id, step, 0, reason);
    if (body !== null) {
      this.#parts.transport.sendBody(this.#peer, body, { timeoutMs: FILE_STEP_MS }).catch(() => {});
    }
  }

  get #peer() {
    return { key: this.#parts.key, endpoints: [this.#address], name: this.from };
  }

  #tell(state: FileProgress["state"]): void {
    const { id, name, size, sha256 } = this;
    this.#onProgress?.({ id, state, name, size, done: this.#part?.length ?? 0, sha256 });
  }

  /** Something went wrong here, or the sender does not answer: what has come is kept. */
  #fail(error: unknown): void {
    if (this.#state === "over" || this.#isPlacing) return;
    const isSystem = systemCode(error) !== undefined && error instanceof Error;
    this.#sayLast(
      "failed",
      isSystem ? `it cannot write the file: ${systemMessage(error)}` : "its program gave the file up",
    );
    // A full disk gets its room back, unless the file is whole and only its folder is full.
    const isFull = systemCode(error) === "ENOSPC" || systemCode(error) === "EDQUOT";
    if (isFull && (this.#part?.length ?? 0) < this.size) this.#isUseless = true;
    const isGone = error instanceof TalkError && (error.code === "declined" || error.code === "not-delivered");
    this.#end(isGone ? TalkError.notDelivered(this.name, "its sender has gone", error) : error);
  }

  /** Settled when the part is closed: another transfer of the file can have it then. */
  #end(outcome: unknown): void {
    if (this.#outcome !== null) return;
    this.#state = "over";
    this.#outcome = { value: outcome };
    clearTimeout(this.#timer);
    this.#stop.abort();
    if (!this.#isAnswered) this.#withdrawn.abort(outcome);
    this.#waiting = [];
    this.#parts.onEnd();
    if (!this.#isBusy) void this.#close();
  }

  async #close(): Promise<void> {
    const part = this.#part;
    this.#part = null;
    try {
      await (this.#isUseless ? part?.discard() : part?.keep());
    } catch (error) {
      debug("a part: %s", error instanceof Error ? error.message : error);
    }
    const value = this.#outcome?.value;
    if (isPlaced(value)) this.#done.resolve(value.path);
    else this.#done.reject(value);
  }
}

const isPlaced = (value: unknown): value is { readonly path: string } =>
  typeof value === "object" && value !== null && "path" in value && !(value instanceof Error);

function misuse(subject: string, rule: string): TalkError {
  return new TalkError("usage", `accept(): ${subject} must be ${rule}`, { subject });
}
