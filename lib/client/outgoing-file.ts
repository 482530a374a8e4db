// One file on its way to somebody else. Owns the descriptor, how far the file has come, and the outcome. Knows no names and no events.
//
//  1. open(): the file is opened once, must be a regular one, and is hashed.
//  2. offer(): the receiver's program has the offer, or declines it at once.
//  3. onControl("accept"): the file is sent from there on, a window beyond what the receiver has on its disk.
//  4. All is sent, and the file is as it was: "end". The receiver checks, syncs, names: "done".
// While nothing comes from the receiver it is asked whether it still knows of the transfer.
import { createHash } from "node:crypto";
import { setMaxListeners } from "node:events";
import { constants, type Stats } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { basename } from "node:path";
import { Deferred } from "../base/async.ts";
import { TalkError } from "../base/errors.ts";
import { systemCode } from "../base/system-error.ts";
import type { PeerTransport } from "../peer/transport.ts";
import type { PeerIdentity } from "../peer/types.ts";
import {
  encodeFileControl,
  encodeFileOffer,
  type FileControlBody,
  type FileStep,
  fileDataBytes,
  fileDataHeadBytes,
  writeFileDataHead,
} from "../wire/file-bodies.ts";
import type { FileProgress } from "./types.ts";

/** Bytes under way beyond what the receiver has on its disk: what it has to keep in memory at most. */
export const FILE_WINDOW_BYTES = 4 * 1024 * 1024;
/** Milliseconds in which each part of a transfer has to arrive. */
export const FILE_STEP_MS = 30_000;
/** Milliseconds of silence after which the other end is asked whether it still knows of the transfer. */
export const FILE_ASK_MS = 5_000;
const FILE_ANSWER_MS = 10_000;
/** Milliseconds that a person has to accept a file. */
export const FILE_DECISION_MS = 600_000;
/** DATA bodies under way at once: enough to keep the path busy while the disk is read… */
const MAX_BODIES = 12;
/** …but no more than what the path carries in so many milliseconds, because texts to the same program come behind them. */
const QUEUE_MS = 100;
/** Bytes of a body at least, where the path is slow: less is mostly heads and confirmations. */
const MIN_BODY_BYTES = 4 * 1024;
/** Bodies that the bytes under way are cut into, where the path is slow; and that are read for at once. */
const READ_BODIES = 4;
/** Bytes under way at first, while nothing is known of the path. */
const FIRST_BYTES = 32 * 1024;
const HASH_BYTES = 1 << 20;

export interface OutgoingFileParts {
  readonly id: string;
  /** What the sender calls itself. */
  readonly from: string;
  readonly path: string;
  /** The receiver as the caller calls it, for errors. */
  readonly to: string;
  readonly transport: Pick<PeerTransport, "sendBody" | "leastRoundTripMs">;
  readonly onProgress: ((progress: FileProgress) => void) | undefined;
  readonly signal: AbortSignal | undefined;
}

export class OutgoingFile {
  readonly #parts: OutgoingFileParts;
  readonly #file: FileHandle;
  readonly #before: Stats;
  readonly #sha256: Buffer;
  readonly #done = new Deferred<void>();
  readonly #stop = new AbortController();
  readonly #spare: Buffer[] = [];
  #peer: PeerIdentity | null = null;
  #state: "offered" | "accepted" | "ended" | "over" = "offered";
  #isOffered = false;
  /** Counts the accepts: what sends goes on only for the latest one. */
  #run = 0;
  #position = 0;
  #written = 0;
  #bodies = 0;
  /** Bytes of these bodies. */
  #underWay = 0;
  /** Of the path, smoothed, without its round trip; a guess at first. */
  #msPerByte = QUEUE_MS / FIRST_BYTES;
  #roundTripMs = 0;
  #wake = (): void => {};
  #askTimer: NodeJS.Timeout | undefined;
  #decisionTimer: NodeJS.Timeout | undefined;

  private constructor(parts: OutgoingFileParts, file: FileHandle, before: Stats, sha256: Buffer) {
    this.#parts = parts;
    this.#file = file;
    this.#before = before;
    this.#sha256 = sha256;
    setMaxListeners(0, this.#stop.signal); // each body under way listens
  }

  /** @throws TalkError bad-data if it is no regular file; the system's error; the signal's reason */
  static async open(parts: OutgoingFileParts): Promise<OutgoingFile> {
    const { path, signal } = parts;
    // Not blocking: a FIFO without a writer would hold us up before we see what it is.
    const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
    const file = await open(path, flags).catch((error: unknown) => {
      throw systemCode(error) === "ENOENT" ? TalkError.badData(`there is no file ${path}`, error) : error;
    });
    try {
      const before = await file.stat();
      if (!before.isFile()) throw TalkError.badData(`${path} is no regular file`);
      return new OutgoingFile(parts, file, before, await hashOf(file, signal));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get size(): number {
    return this.#before.size;
  }
  get name(): string {
    return basename(this.#parts.path);
  }
  /** Of its bytes when it was opened, in hex. */
  get sha256(): string {
    return this.#sha256.toString("hex");
  }
  /** The receiver's key, once the file is offered. */
  get key(): Uint8Array | undefined {
    return this.#peer?.key;
  }

  /** Fulfilled when the receiver's program has the offer. @throws TalkError declined, not-understood, key-mismatch, not-delivered… */
  async offer(peer: PeerIdentity, timeoutMs: number): Promise<void> {
    const { id, from, transport } = this.#parts;
    const body = encodeFileOffer({ id, from, name: this.name, size: this.size, sha256: this.#sha256 });
    if (body === null) throw TalkError.badData(`${JSON.stringify(this.name)} is too long a name for a file`);
    this.#peer = peer;
    await transport.sendBody(peer, body, { timeoutMs, signal: this.#stop.signal });
    this.#onOffered();
  }

  /** Fulfilled when the file is under its name at the receiver's. @throws TalkError declined, not-delivered; the signal's reason */
  async sent(): Promise<void> {
    const { signal } = this.#parts;
    const onAbort = (): void => this.#fail(signal?.reason);
    if (signal?.aborted) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
    try {
      await this.#done.promise;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** What the receiver says of it. */
  onControl({ step, offset, reason }: FileControlBody): void {
    if (this.#state === "over") return;
    this.#askLater();
    switch (step) {
      case "accept":
        if (offset <= this.size) this.#begin(offset);
        break;
      case "written":
        if (offset > this.#written && offset <= this.#position) this.#onWritten(offset);
        break;
      case "done":
        if (this.#state === "ended") this.#end(null);
        break;
      case "decline":
        this.#end(TalkError.fileDeclined(this.#parts.to, this.name, reason));
        break;
      case "failed":
        this.#end(TalkError.notDelivered(this.#parts.to, reason === "" ? "it gave the file up" : reason));
        break;
      case "alive":
      case "end":
        break;
    }
  }

  /** Gives it up, if it is not over, and tells the receiver. */
  async close(reason: Error): Promise<void> {
    this.#fail(reason);
    await this.#file.close();
  }

  /** Once: the confirmation of the offer and the answer to it may overtake each other. */
  #onOffered(): void {
    if (this.#isOffered || this.#state === "over") return;
    this.#isOffered = true;
    this.#tell("offered");
    this.#decisionTimer = setTimeout(() => this.#fail(this.#late()), FILE_DECISION_MS);
    this.#askLater();
  }

  #begin(offset: number): void {
    this.#onOffered();
    clearTimeout(this.#decisionTimer);
    this.#state = "accepted";
    this.#position = offset;
    this.#written = offset;
    this.#tell("accepted");
    this.#send(++this.#run).catch((error: unknown) => this.#fail(error));
  }

  /** Sends all from the position on, then "end". */
  async #send(run: number): Promise<void> {
    const isCurrent = (): boolean => run === this.#run && this.#state === "accepted";
    while (isCurrent() && this.#position < this.size) {
      if (this.#mayGoOn()) await this.#sendNext();
      else await this.#woken();
    }
    while (isCurrent() && this.#bodies > 0) await this.#woken();
    if (!isCurrent()) return;
    if (!isSame(this.#before, await this.#file.stat())) throw this.#changed();
    if (!isCurrent()) return;
    this.#state = "ended";
    await this.#tellReceiver("end", this.size);
  }

  /** Bytes that may be under way: what the path holds, and what may wait in front of it. */
  get #mostBytes(): number {
    const most = (QUEUE_MS + this.#roundTripMs) / Math.max(this.#msPerByte, Number.EPSILON);
    return Math.min(MAX_BODIES * fileDataBytes(this.#parts.id), Math.max(2 * MIN_BODY_BYTES, most));
  }

  /** On a slow path a body is smaller: a text that comes behind it waits for all of it. */
  get #bodyBytes(): number {
    return Math.min(fileDataBytes(this.#parts.id), Math.max(MIN_BODY_BYTES, Math.floor(this.#mostBytes / READ_BODIES)));
  }

  #mayGoOn(): boolean {
    if (this.#position - this.#written >= FILE_WINDOW_BYTES) return false;
    return this.#bodies === 0 || this.#underWay + this.#bodyBytes <= this.#mostBytes;
  }

  /** Reads for a few bodies at once, straight into them, and sends them. */
  async #sendNext(): Promise<void> {
    const { id } = this.#parts;
    const [head, most, length] = [fileDataHeadBytes(id), fileDataBytes(id), this.#bodyBytes];
    const at = this.#position;
    const room = Math.floor((this.#mostBytes - this.#underWay) / length);
    const bodies: Buffer[] = [];
    const parts: Buffer[] = [];
    let end = at;
    for (let left = Math.max(1, Math.min(READ_BODIES, room)); left > 0 && end < this.size; left--) {
      const body = this.#spare.pop() ?? Buffer.allocUnsafeSlow(head + most);
      const part = body.subarray(head, head + Math.min(length, this.size - end));
      bodies.push(body);
      parts.push(part);
      end += part.length;
    }
    const { bytesRead } = await this.#file.readv(parts, at);
    if (bytesRead < end - at) throw this.#changed();
    if (this.#state !== "accepted" || this.#position !== at) return; // begun anew meanwhile
    for (const [i, body] of bodies.entries()) this.#sendBody(body, head, parts[i]?.length ?? 0);
  }

  #sendBody(body: Buffer, head: number, length: number): void {
    const { id, transport } = this.#parts;
    const peer = this.#peer as PeerIdentity;
    writeFileDataHead(body, id, this.#position);
    this.#position += length;
    this.#bodies++;
    this.#underWay += length;
    const since = performance.now();
    transport
      .sendBody(peer, body.subarray(0, head + length), this.#options())
      .then(
        () => {
          this.#roundTripMs = transport.leastRoundTripMs(peer);
          const waitedMs = performance.now() - since - this.#roundTripMs;
          this.#msPerByte += (Math.max(0, waitedMs) / this.#underWay - this.#msPerByte) / 8;
          this.#spare.push(body);
        },
        (error: unknown) => this.#fail(error),
      )
      .finally(() => {
        this.#bodies--;
        this.#underWay -= length;
        this.#wake();
      });
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #onWritten(offset: number): void {
    this.#written = offset;
    this.#tell("progress");
    this.#wake();
  }

  #options(): { readonly timeoutMs: number; readonly signal: AbortSignal } {
    return { timeoutMs: FILE_STEP_MS, signal: this.#stop.signal };
  }

  async #tellReceiver(step: FileStep, offset = 0, reason = ""): Promise<void> {
    const body = encodeFileControl(this.#parts.id, step, offset, reason);
    if (body === null || this.#peer === null) return;
    await this.#parts.transport.sendBody(this.#peer, body, { ...this.#options(), timeoutMs: stepTimeout(step) });
  }

  #askLater(): void {
    clearTimeout(this.#askTimer);
    if (this.#state === "over") return;
    this.#askTimer = setTimeout(() => {
      if (this.#bodies > 0) {
        this.#askLater(); // each of them asks, and a question would come behind them
        return;
      }
      this.#tellReceiver("alive", this.#position).then(
        () => this.#askLater(),
        (error: unknown) => this.#fail(error),
      );
    }, FILE_ASK_MS);
  }

  #tell(state: FileProgress["state"]): void {
    const { id, onProgress } = this.#parts;
    onProgress?.({ id, state, name: this.name, size: this.size, done: this.#written, sha256: this.sha256 });
  }

  #changed(): TalkError {
    return TalkError.notDelivered(this.#parts.to, `${this.#parts.path} has changed while it was sent`);
  }

  #late(): TalkError {
    return TalkError.notDelivered(
      this.#parts.to,
      `nobody has accepted the file within ${FILE_DECISION_MS / 60_000} min`,
    );
  }

  /** Something went wrong here: tells the receiver, if that is possible. */
  #fail(error: unknown): void {
    if (this.#state === "over") return;
    const { to } = this.#parts;
    const isForgotten = error instanceof TalkError && error.code === "declined" && this.#peer !== null;
    const reason = error instanceof Error ? error.message : String(error);
    if (this.#state === "ended" && error instanceof TalkError) {
      // All of it is there, and the receiver was to give it its name: whether it has is unknown.
      this.#end(TalkError.unconfirmed(to, reason, error));
      return;
    }
    this.#end(
      isForgotten ? TalkError.notDelivered(to, "its program knows nothing of the file any more", error) : error,
    );
    if (!isForgotten && this.#peer !== null) {
      const body = encodeFileControl(this.#parts.id, "failed", 0, reason);
      if (body !== null) this.#parts.transport.sendBody(this.#peer, body, { timeoutMs: FILE_STEP_MS }).catch(() => {});
    }
  }

  #end(error: unknown): void {
    this.#state = "over";
    clearTimeout(this.#askTimer);
    clearTimeout(this.#decisionTimer);
    if (error === null) this.#done.resolve();
    else this.#done.reject(error);
    this.#stop.abort(error ?? undefined);
    this.#wake();
  }
}

/** Milliseconds in which a step has to be confirmed. Any receiver that runs answers "alive" in a short time. */
export function stepTimeout(step: FileStep): number {
  return step === "alive" ? FILE_ANSWER_MS : FILE_STEP_MS;
}

async function hashOf(file: FileHandle, signal: AbortSignal | undefined): Promise<Buffer> {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafeSlow(HASH_BYTES);
  for (let position = 0; ; ) {
    signal?.throwIfAborted();
    const { bytesRead } = await file.read(buffer, 0, HASH_BYTES, position);
    if (bytesRead === 0) return hash.digest();
    hash.update(buffer.subarray(0, bytesRead));
    position += bytesRead;
  }
}

function isSame(before: Stats, after: Stats): boolean {
  return before.size === after.size && before.mtimeMs === after.mtimeMs && before.ctimeMs === after.ctimeMs;
}
