// Who is who: a name's key and addresses from the server, held against the key that was remembered of it. Both ways: whom
// to send to, and whether an incoming message is from whom it says. Knows nothing of sockets and messages.
import { performance } from "node:perf_hooks";
import { TalkError } from "../errors.ts";
import { foldIfValid } from "../names.ts";
import type { DirectoryRecord } from "./directory-record.ts";
import type { KnownPeers } from "./known-peers.ts";

/** Records kept: one conversation each, for as long as the server is away. The one looked up longest ago makes room. */
const MAX_RECORDS = 1024;
/** Milliseconds after which a record is asked for again, should a push about it have been missed. */
const FRESH_MS = 2_000;

/** What the book needs of the session. */
export interface DirectorySource {
  readonly connected: boolean;
  lookup(name: string): Promise<DirectoryRecord | null>;
  whenConnected(signal: AbortSignal): Promise<void>;
}

interface Entry {
  readonly record: Promise<DirectoryRecord | null>;
  readonly askedAt: number;
}

/** What is known of a sender: verified if the server's binding and the remembered key agree, refused if one contradicts. */
export type Standing = { readonly verified: boolean } | { readonly refused: TalkError };

export class AddressBook {
  readonly #server: string;
  readonly #source: DirectorySource;
  readonly #peers: KnownPeers;
  readonly #entries = new Map<string, Entry>();

  constructor(server: string, source: DirectorySource, peers: KnownPeers) {
    this.#server = server;
    this.#source = source;
    this.#peers = peers;
  }

  /**
   * Where a message for this name goes. While the server is away the last known place serves; without one it is waited for.
   * Sends that resolve one name keep their order.
   * @throws TalkError no-such-user, key-mismatch, unreachable; the signal's reason
   */
  async resolve(name: string, signal: AbortSignal): Promise<DirectoryRecord> {
    const folded = foldIfValid(name);
    if (folded === null) throw TalkError.noSuchUser(name);
    if (!this.#source.connected && !this.#entries.has(folded)) await this.#source.whenConnected(signal);
    const record = await this.#lookup(folded);
    if (record === null) throw TalkError.noSuchUser(name);
    this.#peers.check(this.#server, folded, record.key);
    return record;
  }

  /** The handshake with this key has succeeded under this name: from now on no other key will do. */
  remember(name: string, key: string): void {
    this.#peers.remember(this.#server, name, key);
  }

  /** @param key base64 of the key that the sender has proved to hold */
  async standingOf(name: string, key: string): Promise<Standing> {
    const folded = foldIfValid(name);
    if (folded === null) return { refused: TalkError.badName(name, "a sender calls itself so") };
    try {
      const pinned = this.#peers.check(this.#server, folded, key) === "known";
      const bound = await this.#boundKey(folded);
      if (bound === key) {
        if (!pinned) this.#peers.remember(this.#server, folded, key);
        return { verified: true };
      }
      // The name is somebody else's on the server: only who was met under it before is heard, and not as verified.
      if (bound !== null && !pinned) return { refused: TalkError.refused(`a stranger calls itself "${folded}"`) };
      return { verified: false };
    } catch (error) {
      if (error instanceof TalkError) return { refused: error };
      throw error;
    }
  }

  /** The server told of a client unasked. */
  learn(record: DirectoryRecord): void {
    const folded = foldIfValid(record.name);
    if (folded !== null) this.#keep(folded, { record: Promise.resolve(record), askedAt: performance.now() });
  }

  /** The client of this name has left. */
  forget(name: string): void {
    const folded = foldIfValid(name);
    if (folded !== null) this.#entries.delete(folded);
  }

  async #boundKey(folded: string): Promise<string | null> {
    try {
      const record = await this.#lookup(folded);
      if (record !== null) return record.key;
      // It may have registered a moment after we last asked.
      this.#entries.delete(folded);
      return (await this.#lookup(folded))?.key ?? null;
    } catch {
      return null; // no server, no binding: the message is shown, but not as verified
    }
  }

  #lookup(folded: string): Promise<DirectoryRecord | null> {
    const known = this.#entries.get(folded);
    const now = performance.now();
    if (known && (!this.#source.connected || now - known.askedAt < FRESH_MS)) return known.record;
    const record = this.#source.lookup(folded);
    const entry = { record, askedAt: now };
    this.#keep(folded, entry);
    record.catch(() => {
      // The question failed, the answer to the one before it may still be right.
      if (this.#entries.get(folded) !== entry) return;
      if (known) this.#entries.set(folded, known);
      else this.#entries.delete(folded);
    });
    return known ? record.catch(() => known.record) : record;
  }

  #keep(folded: string, entry: Entry): void {
    this.#entries.delete(folded); // to the end: a Map keeps the order of insertion
    this.#entries.set(folded, entry);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= MAX_RECORDS) break;
      this.#entries.delete(oldest);
    }
  }
}
