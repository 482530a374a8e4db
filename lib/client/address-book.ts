// Who is who: a name's key and addresses from the server, held against the key that was remembered of it. Both ways: whom
// to send to, and whether an incoming message is from whom it says. A server that does not answer delays neither for long.
// Knows nothing of sockets and messages.

import { type Flight, KeyedQueue, SingleFlight } from "../base/async.ts";
import { TalkError } from "../base/errors.ts";
import { foldIfValid } from "../base/names.ts";
import type { DirectoryEntry } from "../directory/entry.ts";
import type { KnownPeers } from "../store/known-peers.ts";
import { DirectoryCache } from "./directory-cache.ts";

/** Milliseconds that a question about somebody known holds a message up; past them what was known before serves. */
const KNOWN_PATIENCE_MS = 250;
/** Milliseconds that an incoming message waits for the server's word on its sender; past them it is not verified. */
const SENDER_PATIENCE_MS = 1_000;

/** What the book needs of the session. */
export interface DirectorySource {
  readonly connected: boolean;
  lookup(name: string): Promise<DirectoryEntry | null>;
  /** The key (base64) that the name belongs to, null if to none. */
  ownerOf(name: string): Promise<string | null>;
  whenConnected(signal: AbortSignal): Promise<void>;
}

/** What is known of a sender: verified if the server's binding and the remembered key agree, refused if one contradicts. */
export type SenderVerification = { readonly verified: boolean } | { readonly refused: TalkError };

export class AddressBook {
  readonly #server: string;
  readonly #source: DirectorySource;
  readonly #peers: KnownPeers;
  readonly #records = new DirectoryCache();
  readonly #places = new SingleFlight<DirectoryEntry | null>(KNOWN_PATIENCE_MS);
  readonly #owners = new SingleFlight<string | null>(SENDER_PATIENCE_MS);
  readonly #inTurn = new KeyedQueue();
  #hasWarned = false;

  constructor(server: string, source: DirectorySource, peers: KnownPeers) {
    this.#server = server;
    this.#source = source;
    this.#peers = peers;
  }

  /**
   * Where a message for this name goes. While the server is away the last known place serves; without one it is waited for.
   * Of calls with one name, none is fulfilled before an earlier one is settled.
   * @throws TalkError no-such-user, key-mismatch, unreachable; the signal's reason
   */
  resolve(name: string, signal: AbortSignal): Promise<DirectoryEntry> {
    const folded = foldIfValid(name);
    if (folded === null) return Promise.reject(TalkError.noSuchUser(name));
    const find = async (): Promise<DirectoryEntry> => {
      const record = await this.#find(folded, signal);
      if (record === null) throw TalkError.noSuchUser(name);
      this.#records.use(folded);
      this.#peers.check(this.#server, folded, record.key);
      return record;
    };
    return this.#inTurn.run(folded, find, signal);
  }

  /** Somebody is about to be written to: asks now where. */
  lookAhead(name: string): void {
    const folded = foldIfValid(name);
    if (folded !== null) this.#ask(folded);
  }

  /** The handshake with this key has succeeded under this name, as it was given to resolve(): no other key will do now. */
  remember(name: string, key: string): void {
    try {
      this.#pin(name, key);
    } catch {
      // Another process has met another key under this name just now: the next message to it is refused loudly.
    }
  }

  /** @param key base64 of the key that the sender has proved to hold */
  async verifySender(name: string, key: string): Promise<SenderVerification> {
    const folded = foldIfValid(name);
    if (folded === null) return { refused: TalkError.badName(name, "a sender calls itself so") };
    try {
      const pinned = this.#isPinned(folded, key);
      const { inTime } = this.#owners.run(`${folded} ${key}`, () => this.#boundKey(folded, key));
      const bound = (await inTime) ?? null;
      if (bound === key) return { verified: pinned || this.#pin(folded, key) };
      // The name is somebody else's on the server: only who was met under it before is heard, and not as verified.
      if (bound !== null && !pinned) return { refused: TalkError.refused(`a stranger calls itself "${folded}"`) };
      return { verified: false };
    } catch (error) {
      if (error instanceof TalkError) return { refused: error };
      throw error;
    }
  }

  /** The server told of a client. */
  learn(record: DirectoryEntry): void {
    const folded = foldIfValid(record.name);
    if (folded !== null) this.#records.keep(folded, record);
  }

  /** The client of this name has left. */
  forget(name: string): void {
    const folded = foldIfValid(name);
    if (folded !== null) this.#records.forget(folded);
  }

  /** The server was away: what it told before may no longer be so. */
  invalidate(): void {
    this.#records.invalidate();
  }

  async #find(folded: string, signal: AbortSignal): Promise<DirectoryEntry | null> {
    for (;;) {
      signal.throwIfAborted();
      if (!this.#source.connected && !this.#records.get(folded)) await this.#source.whenConnected(signal);
      try {
        return await this.#current(folded);
      } catch (error) {
        if (this.#source.connected) throw error; // else it broke off: ask again when it is back
      }
    }
  }

  /** The key that the name belongs to, as far as can be found out. */
  async #boundKey(folded: string, key: string): Promise<string | null> {
    const known = this.#records.get(folded);
    if (!this.#source.connected) return known?.key ?? null;
    // Most senders are on, and known soon; who only sends is in no directory, and asked for along with it.
    const early = known?.key === key ? undefined : this.#source.ownerOf(folded).catch(() => null);
    const listed = await this.#current(folded).catch(() => null);
    if (listed?.key === key) return key;
    const owner = await (early ?? this.#source.ownerOf(folded).catch(() => null));
    return owner ?? listed?.key ?? null;
  }

  /** @throws TalkError unreachable, protocol if nothing was known before */
  async #current(folded: string): Promise<DirectoryEntry | null> {
    const known = this.#records.get(folded);
    if (known && (this.#records.isFresh(folded) || !this.#source.connected)) return known;
    const question = this.#ask(folded);
    if (!known) return question.answer;
    const answer = await question.inTime;
    return answer !== undefined ? answer : (this.#records.get(folded) ?? known);
  }

  #ask(folded: string): Flight<DirectoryEntry | null> {
    return this.#places.run(folded, async () => {
      const record = await this.#source.lookup(folded);
      if (record) this.#records.keep(folded, record);
      else this.#records.forget(folded);
      return record;
    });
  }

  /** @throws TalkError key-mismatch. What cannot be read is not remembered. */
  #isPinned(folded: string, key: string): boolean {
    try {
      return this.#peers.check(this.#server, folded, key) === "known";
    } catch (error) {
      this.#warnUnlessMismatch(error);
      return false;
    }
  }

  /** @returns whether the key is remembered from now on. @throws TalkError key-mismatch: another process was quicker */
  #pin(name: string, key: string): boolean {
    try {
      this.#peers.remember(this.#server, name, key);
      return true;
    } catch (error) {
      this.#warnUnlessMismatch(error);
      return false;
    }
  }

  #warnUnlessMismatch(error: unknown): void {
    if (error instanceof TalkError && error.code === "key-mismatch") throw error;
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    const reason = error instanceof Error ? error.message : String(error);
    process.emitWarning(`the keys of others are not remembered: ${reason}`, { code: "PTALK_NOT_REMEMBERED" });
  }
}
