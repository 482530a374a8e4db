// The files under way, both ways: which body belongs to which transfer, and whose offers a program sees at all. Owns the transfers and their
// number; each of them does its own work (outgoing-file.ts, incoming-file.ts).
import { randomUUID } from "node:crypto";
import type { EventEmitter } from "node:events";
import { debuglog } from "node:util";
import { sleep } from "../base/async.ts";
import { TalkError } from "../base/errors.ts";
import { foldIfValid } from "../base/names.ts";
import { seconds } from "../base/seconds.ts";
import { DEFAULT_SEND_TIMEOUT, MAX_SEND_TIMEOUT } from "../peer/limits.ts";
import type { PeerTransport } from "../peer/transport.ts";
import type { IncomingBody } from "../peer/types.ts";
import type { Outcome } from "../wire/datagram-frames.ts";
import { MAX_ID_BYTES } from "../wire/datagram-message.ts";
import { decodeFileBody, type FileOfferBody } from "../wire/file-bodies.ts";
import type { AddressBook } from "./address-book.ts";
import type { Admission } from "./admission.ts";
import { IncomingFile } from "./incoming-file.ts";
import { OutgoingFile } from "./outgoing-file.ts";
import type { SendFileOptions, SendFileResult, TalkClientEvents } from "./types.ts";

const debug = debuglog("ptalk-client");

/** Files under way from here at once. */
const MAX_OUTGOING = 128;
/** Offers and files under way to here at once, and of them from one key: each may keep a descriptor and a window of bytes. */
const MAX_INCOMING = 32;
const MAX_INCOMING_PER_KEY = 8;
/** Milliseconds after connect() in which an offer waits for a listener. */
const LISTENER_GRACE_MS = 100;
const LISTENER_LOOK_MS = 20;
/** Milliseconds of silence after which a transfer gives way to the next attempt with the same file. */
const STALLED_MS = 2_000;
const FREE_LOOK_MS = 100;

export interface FileTransfersParts {
  /** What the sender calls itself. */
  readonly from: string;
  readonly book: Pick<AddressBook, "atOnce" | "find" | "remember" | "verifySender">;
  readonly admission: Pick<Admission, "admits">;
  readonly transport: Pick<PeerTransport, "sendBody" | "leastRoundTripMs">;
  /** Folder of the parts. */
  readonly folder: string;
  /** Whose "file" listeners get the offers. */
  readonly client: EventEmitter<TalkClientEvents>;
  /** Monotonic milliseconds; infinite before connect() resolves. */
  readonly connectedAt: () => number;
  readonly onListenerError: (reason: unknown) => void;
}

export class FileTransfers {
  readonly #parts: FileTransfersParts;
  /** By id. */
  readonly #outgoing = new Map<string, OutgoingFile>();
  /** By the sender's key and id. */
  readonly #incoming = new Map<string, IncomingFile>();
  /** Those that are over, until they have let go of their parts. */
  readonly #closing = new Set<IncomingFile>();
  #isClosed = false;

  constructor(parts: FileTransfersParts) {
    this.#parts = parts;
  }

  /** @throws as TalkClient.sendFile() */
  async send(to: string, path: string, options: SendFileOptions): Promise<SendFileResult> {
    const { id, timeoutMs, signal, onProgress } = checkSendFile(to, path, options);
    signal?.throwIfAborted();
    const name = foldIfValid(to);
    if (name === null) throw TalkError.noSuchUser(to);
    if (this.#outgoing.size >= MAX_OUTGOING) {
      throw TalkError.notDelivered(to, `${MAX_OUTGOING} files are already under way`);
    }
    const { from, book, transport } = this.#parts;
    if (this.#outgoing.has(id)) throw misuse("id", "a new one: that file is under way");
    const file = await OutgoingFile.open({ id, from, path, to, transport, onProgress, signal });
    const since = performance.now();
    this.#outgoing.set(id, file);
    let failure: unknown;
    try {
      const limit = AbortSignal.timeout(timeoutMs);
      const until = signal === undefined ? limit : AbortSignal.any([signal, limit]);
      const recipient = book.atOnce(name) ?? (await book.find(name, to, until));
      await file.offer(recipient.peer, Math.max(1, timeoutMs - (performance.now() - since)));
      if (!recipient.isRemembered) book.remember(name, recipient);
      await file.sent();
    } catch (error) {
      const isLate = error instanceof Error && error.name === "TimeoutError" && !signal?.aborted;
      failure = isLate
        ? TalkError.notDelivered(to, `nothing is known of its address after ${seconds(timeoutMs)}`)
        : error;
      throw failure;
    } finally {
      this.#outgoing.delete(id);
      await file.close(failure instanceof Error ? failure : TalkError.closed("the transfer"));
    }
    const ms = Math.round((performance.now() - since) * 1000) / 1000;
    return { id, to, name: file.name, size: file.size, sha256: file.sha256, ms };
  }

  /** Settles a body about a file, "declined" for one of a transfer that is none. */
  receive({ key, body, address }: IncomingBody, settle: (outcome: Outcome) => void): void {
    const about = decodeFileBody(body);
    if (about === null) {
      settle("malformed");
      return;
    }
    if (about.type === "offer") {
      this.#onOffer(about, key, address).then(settle, (error: unknown) => {
        debug("an offer: %s", error instanceof Error ? error.message : error);
        settle("refused");
      });
      return;
    }
    const incoming = this.#incoming.get(incomingKey(key, about.id));
    if (about.type === "data") {
      settle(incoming?.onData(about, address) ? "accepted" : "declined");
      return;
    }
    const outgoing = this.#outgoing.get(about.id);
    const isOurs = outgoing?.key !== undefined && key.equals(outgoing.key);
    settle(incoming !== undefined || isOurs ? "accepted" : "declined");
    incoming?.onControl(about, address);
    if (isOurs) outgoing?.onControl(about);
  }

  /** Gives up the transfers that are under way, and tells the peers. Keeps the parts that have arrived. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const reason = TalkError.closed("the client");
    await Promise.all([...this.#outgoing.values(), ...this.#incoming.values()].map((file) => file.close(reason)));
  }

  async #onOffer(offer: FileOfferBody, key: Buffer, address: IncomingBody["address"]): Promise<Outcome> {
    const { book, admission, client, transport, folder, onListenerError } = this.#parts;
    const name = foldIfValid(offer.from);
    if (name === null) return "malformed";
    if (!(await admission.admits(name, key)) || !(await this.#isListenedTo())) return "declined";
    const at = incomingKey(key, offer.id);
    if (this.#incoming.has(at)) return "accepted"; // it comes again
    const ofKey = [...this.#incoming.keys()].filter((other) => other.startsWith(incomingKey(key, ""))).length;
    if (this.#incoming.size >= MAX_INCOMING || ofKey >= MAX_INCOMING_PER_KEY) return "declined";
    let sender: Awaited<ReturnType<AddressBook["verifySender"]>>;
    try {
      sender = await book.verifySender(name, key);
    } catch (error) {
      if (error instanceof TalkError) return "key-mismatch";
      throw error;
    }
    if (this.#isClosed) return "declined";
    const file = new IncomingFile({
      ...{ offer, key, address, folder, transport, ...sender },
      untilFree: (one) => this.#untilFree(one),
      onEnd: () => {
        this.#incoming.delete(at);
        this.#closing.add(file);
        void file.ended.then(() => this.#closing.delete(file));
      },
    });
    this.#incoming.set(at, file);
    for (const listener of client.rawListeners("file")) {
      try {
        listener.call(client, file);
      } catch (error) {
        onListenerError(error);
      }
    }
    return "accepted";
  }

  /** Another attempt of the same sender goes on as long as it moves; one whose program was killed makes room. */
  async #untilFree(file: IncomingFile): Promise<void> {
    for (;;) {
      const others = [...this.#incoming.values(), ...this.#closing];
      const other = others.find((one) => one !== file && one.hasPart && one.identity === file.identity);
      if (other === undefined) return;
      if (other.silentMs > STALLED_MS) await other.close(TalkError.notDelivered(other.name, "it is sent again"));
      else await sleep(FREE_LOOK_MS);
    }
  }

  async #isListenedTo(): Promise<boolean> {
    const { client, connectedAt } = this.#parts;
    const isEarly = (): boolean => performance.now() < connectedAt() + LISTENER_GRACE_MS && !this.#isClosed;
    while (client.listenerCount("file") === 0 && isEarly()) await sleep(LISTENER_LOOK_MS);
    return client.listenerCount("file") > 0;
  }
}

const incomingKey = (key: Uint8Array, id: string): string => `${Buffer.from(key).toString("base64")}/${id}`;

type CheckedSendFile = { readonly [K in keyof Required<SendFileOptions>]: SendFileOptions[K] } & {
  readonly id: string;
  readonly timeoutMs: number;
};

/** The arguments of sendFile(), checked before anything is begun. @throws TalkError usage, with the argument as its subject */
function checkSendFile(to: unknown, path: unknown, options: unknown): CheckedSendFile {
  if (typeof to !== "string") throw misuse("to", `a name, not ${typeof to}`);
  if (typeof path !== "string" || path === "" || path.includes("\0")) throw misuse("path", "a path");
  if (typeof options !== "object" || options === null) throw misuse("options", "an object");
  const { id = randomUUID(), timeoutMs = DEFAULT_SEND_TIMEOUT, signal, onProgress } = options as SendFileOptions;
  const idBytes = typeof id === "string" ? Buffer.byteLength(id) : 0;
  if (idBytes < 1 || idBytes > MAX_ID_BYTES) throw misuse("id", `a text of 1 to ${MAX_ID_BYTES} bytes`);
  if (!(timeoutMs > 0 && timeoutMs <= MAX_SEND_TIMEOUT)) {
    throw misuse("timeoutMs", `more than 0 and at most ${MAX_SEND_TIMEOUT}, not ${String(timeoutMs)}`);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw misuse("signal", "an AbortSignal");
  if (onProgress !== undefined && typeof onProgress !== "function") throw misuse("onProgress", "a function");
  return { id, timeoutMs: Math.ceil(timeoutMs), signal, onProgress };
}

function misuse(subject: string, rule: string): TalkError {
  return new TalkError("usage", `sendFile(): ${subject} must be ${rule}`, { subject });
}
