// Who is who: what the server says of a name, held against the key that is remembered of it. Both ways: where a message for
// the name goes, and whether a message under the name is from its owner. Owns what is known of names, and for how long it counts.
// Knows nothing of sockets and messages. Names are folded here, but for error messages.
//
// Whom a message is for:
//  1. known(): the server said so just now, or it is away, or a session is open: that one is used whatever the server says, or does
//     not say. Then the server is asked beside it. No waiting.
//  2. find(): else the server is asked. For somebody known the answer is waited for shortly; what was known before serves then.
//  3. The server knows no such client. Where it has not said that the client left, the last address serves for a minute: the client
//     may be on its way back to a server that has restarted, and it is no such user only when the message's time is over.
//     While a server has not settled after a restart, a client that this program has not met may be on its way back too: ask
//     again. Else: no such user.
//  4. The key must be the remembered one, if there is one, and the client of this version of the peer protocol.
//
// Whom a message is from, verifySender():
//  1. The key must be the remembered one, if there is one.
//  2. The server says whose the name is. What it does not say, within a bound, does not count against a remembered key. What it has
//     said before counts at once, and it is asked again beside it: no confirmation waits for that.
//  3. The verdict: see TalkMessage.verified.
import { abortable, backoffMs, SingleFlight, sleep, withTimeout } from "../base/async.ts";
import type { Endpoint } from "../base/endpoint.ts";
import { TalkError } from "../base/errors.ts";
import { foldIfValid } from "../base/names.ts";
import { isLoopback } from "../base/server-address.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import { predecessorsOf } from "../crypto/rotation.ts";
import { type Attestation, type DirectoryEntry, type NameOwner, PEER_PROTOCOL } from "../directory/entry.ts";
import type { PeerIdentity } from "../peer/types.ts";
import type { PinScope } from "../store/known-directories.ts";
import type { KnownPeers } from "../store/known-peers.ts";
import { type Contact, Contacts, type Recipient } from "./contacts.ts";
import type { LocalUsers } from "./local-users.ts";
import type { DirectoryStats } from "./types.ts";

/** Milliseconds after which the server is asked again, should a push have been missed. */
const FRESH_MS = 2_000;
/** Milliseconds for which the last address of a client serves that a server does not know, but has not seen leave either. */
const MISSED_MS = 60_000;
/** Milliseconds that a question about somebody known holds a message up. */
const KNOWN_PATIENCE_MS = 250;
/** Milliseconds that the message of a stranger waits for the server's word on the sender. */
const STRANGER_PATIENCE_MS = 1_000;
/** Pauses between questions for a client that may be on its way back to a server that has restarted. */
const RETURN = { firstMs: 100, maxMs: 1_000 };
/** Milliseconds between two TOUCH requests: the time of the last lookup is for people. */
const TOUCH_EVERY_MS = 250;
/** Milliseconds that a TOUCH waits at least: by then the message that it is about has left. */
const TOUCH_AFTER_MS = 20;

/** What the book needs of the session with the server, see there. */
export interface DirectorySource {
  readonly isConnected: boolean;
  readonly serverStartedAt: number;
  readonly settlingMs: number;
  lookup(name: string): Promise<DirectoryEntry | null>;
  ownerOf(name: string): Promise<NameOwner | null>;
  touch(): void;
  /** News of this name are wanted from now on. */
  dealsWith(name: string): void;
  whenConnected(signal: AbortSignal): Promise<void>;
}

export interface AddressBookParts {
  /** Where keys are remembered. */
  readonly scope: () => PinScope;
  readonly source: DirectorySource;
  readonly peers: KnownPeers;
  /** Those endpoints of a client that can lead to it from here. */
  readonly endpointsOf: (entry: DirectoryEntry) => readonly Endpoint[];
  /** Null while the server is not on this host. */
  readonly localUsers: () => Pick<LocalUsers, "isImpostor" | "vouchesFor"> | null;
  /** Whether a session with that peer is open. */
  readonly hasSession: (peer: PeerIdentity) => boolean;
  /** The key is remembered from now on: there was none before. */
  readonly onMet: (name: string, fingerprint: string) => void;
  /** The server has told where the client of that name is, asked or unasked. */
  readonly onLearned: (name: string, entry: DirectoryEntry) => void;
}

export interface Sender {
  readonly verified: boolean;
  readonly fingerprint: string;
  /** As the server says of the key's holder. */
  readonly user: string | null;
  readonly uid: number | null;
  readonly attested: Attestation;
  readonly isUnattestedLogin: boolean;
}

const NOBODY: Omit<NameOwner, "key"> = { user: null, uid: null, attested: null, isUnattestedLogin: false };

export class AddressBook {
  readonly #parts: AddressBookParts;
  readonly #contacts = new Contacts();
  readonly #lookups = new SingleFlight<DirectoryEntry | null>();
  readonly #owners = new SingleFlight<NameOwner | null>();
  /** Monotonic milliseconds: what was learned before may no longer be so. */
  #doubtedAt = Number.NEGATIVE_INFINITY;
  #asked = 0;
  #fromMemory = 0;
  #touchTimer: NodeJS.Timeout | undefined;
  #touchedAt = Number.NEGATIVE_INFINITY;
  #hasWarned = false;

  constructor(parts: AddressBookParts) {
    this.#parts = parts;
  }

  /**
   * The recipient of a message for this name, if no lookup is needed.
   * @throws TalkError key-mismatch, not-understood, not-delivered
   */
  known(name: string): Recipient | null {
    const contact = this.#contacts.get(name);
    if (contact === undefined) return null;
    if (!this.#isCurrent(contact)) {
      if (this.#inConversation(contact) === null) return null;
      this.#askAgain(name, contact);
    }
    this.#noteMemory();
    return this.#recipient(name, contact);
  }

  /** As known(), but null where a key has changed: find() asks whether the one before has signed it. */
  atOnce(name: string): Recipient | null {
    try {
      return this.known(name);
    } catch (error) {
      if (isChangedKey(error)) return null;
      throw error;
    }
  }

  /**
   * Whom a message for this name goes to. While the server is away the last known address serves; without one it is waited for.
   * @param shown the name as the caller spells it
   * @param awaitsReturn wait for a client that may be on its way back to a server that has restarted
   * @throws TalkError no-such-user, key-mismatch, not-understood, unreachable; the signal's reason
   */
  async find(name: string, shown: string, signal: AbortSignal, awaitsReturn = true): Promise<Recipient> {
    const { source } = this.#parts;
    let isUnknown = false;
    const onLate = (): void => {
      // Its time is over while the client has not come back.
      if (isUnknown && source.isConnected && isLate(signal.reason)) throw TalkError.noSuchUser(shown);
      signal.throwIfAborted();
    };
    for (let attempt = 0; ; attempt++) {
      onLate();
      if (!source.isConnected && !this.#isUsable(this.#contacts.get(name))) await source.whenConnected(signal);
      try {
        const contact = await abortable(this.#current(name), signal);
        // One that would be left at the server does not go to an address where nobody may be.
        const isThere = awaitsReturn || contact === null || contact.isOn || this.#inConversation(contact) !== null;
        if (contact !== null && isThere) return this.#recipient(name, contact);
        isUnknown = true;
        const returns = awaitsReturn && (await abortable(this.#mayReturn(name), signal));
        if (!returns) throw TalkError.noSuchUser(shown);
      } catch (error) {
        onLate();
        const offered = this.#contacts.get(name)?.entry?.key;
        if (isChangedKey(error) && offered !== undefined) {
          await abortable(this.followKey(name, offered, error), signal);
          continue;
        }
        if (source.isConnected || !isUnreachable(error)) throw error;
        continue; // it broke off: ask again when it is back
      }
      await sleep(Math.min(backoffMs(attempt, RETURN), Math.ceil(source.settlingMs)), signal).catch(onLate);
    }
  }

  /** Asks the server, whatever is known; several callers at once share one question. @throws TalkError unreachable, protocol */
  lookup(name: string): Promise<DirectoryEntry | null> {
    return this.#lookups.run(name, async () => {
      this.#asked++;
      this.#touchedAt = performance.now(); // the server notes a lookup itself
      const entry = await this.#parts.source.lookup(name);
      if (entry) this.#learnAs(name, entry);
      else this.#contacts.get(name)?.onMissed();
      return entry;
    });
  }

  /** The recipient has proved to hold its key: no other one will do under the name from now on. */
  remember(name: string, { entry }: Recipient): void {
    try {
      this.#pin(name, entry.key);
    } catch {
      // Another process has met another key under this name just now: the next message to it is refused loudly.
    }
  }

  /**
   * Why no message to this recipient can arrive, going by what the server has said since; null if nothing speaks against it.
   * @param since when the message was sent, in monotonic milliseconds
   */
  objectionTo(name: string, { entry }: Recipient, since: number): TalkError | null {
    const contact = this.#contacts.get(name);
    const latest = contact?.entry ?? entry;
    const isSame = latest.key === entry.key && latest.protocol === entry.protocol;
    if (isSame) {
      // It was missing when the message was sent, and has not come back in the message's time.
      const isGone = contact !== undefined && this.#isMissed(contact) && contact.missedAt < since;
      return isGone && this.#inConversation(contact) === null ? TalkError.noSuchUser(entry.name) : null;
    }
    try {
      this.#check(name, latest);
      return null;
    } catch (error) {
      return error instanceof TalkError ? error : null;
    }
  }

  /**
   * Whether a message under this name is from its owner.
   * @param key the key that the sender has proved to hold
   * @param isLeft the message has waited at the server: its sender may have replaced the key since, and is not verified then
   * @throws TalkError refused or key-mismatch when the key contradicts the name
   */
  verifySender(name: string, key: Buffer, isLeft = false): Sender | Promise<Sender> {
    const keyText = key.toString("base64");
    let isRemembered: boolean;
    try {
      isRemembered = this.#isRemembered(name, keyText);
    } catch (error) {
      if (!isChangedKey(error)) throw error;
      return this.followKey(name, keyText, error).then(
        () => this.verifySender(name, key),
        (mismatch) => this.#earlierKey(name, keyText, isLeft, mismatch),
      );
    }
    const contact = this.#contacts.get(name);
    const owner = contact?.owner ?? null;
    if (contact && owner !== null) {
      const isCurrent = this.#isFresh(contact.ownerAt) || !this.#parts.source.isConnected;
      const isExpected = isRemembered && owner.key === keyText;
      if (!isCurrent && isExpected) void this.#askOwner(name);
      if (isCurrent || isExpected) return this.#judge(name, keyText, isRemembered, owner);
    }
    const patienceMs = isRemembered || owner?.key === keyText ? KNOWN_PATIENCE_MS : STRANGER_PATIENCE_MS;
    // A server that is silent holds up the first message only, not each.
    const askedAt = contact?.askedOwnerAt ?? null;
    const waitedMs = askedAt === null ? 0 : performance.now() - askedAt;
    const asked = withTimeout(Math.max(0, patienceMs - waitedMs), this.#askOwner(name), owner);
    return asked.then((answer) => this.#judge(name, keyText, isRemembered, answer));
  }

  /**
   * Remembers another key (base64) than before, if the one before has signed it (`ptalk key rotate`); the server keeps the proof. People have
   * not compared this one, and a thief of the old key can sign too: the mark that they did goes.
   * @throws mismatch if it has not
   */
  async followKey(name: string, key: string, mismatch: TalkError): Promise<void> {
    const { scope, peers, source } = this.#parts;
    const before = peers.keyFor(scope(), name);
    if (before === undefined || !source.isConnected) throw mismatch;
    const owner = await withTimeout(STRANGER_PATIENCE_MS, this.#ownerNow(name), null);
    if (owner?.key !== key || !leadsTo(owner, before)) throw mismatch;
    if (peers.keyFor(scope(), name) === key) return; // another message was quicker
    peers.replace(scope(), name, key);
    const text = `the key of ${JSON.stringify(name)} has changed to ${fingerprintOf(key)}: the one before has signed it, and it is remembered`;
    process.emitWarning(text, { code: "PTALK_KEY_REPLACED" });
  }

  /** @throws mismatch unless the message was left with a key that the remembered one has replaced */
  #earlierKey(name: string, key: string, isLeft: boolean, mismatch: unknown): Sender {
    const { scope, peers } = this.#parts;
    const owner = this.#contacts.get(name)?.owner ?? null;
    const isEarlier = owner !== null && owner.key === peers.keyFor(scope(), name) && leadsTo(owner, key);
    if (!isLeft || !isEarlier) throw mismatch;
    return { verified: false, fingerprint: fingerprintOf(key), ...NOBODY };
  }

  /** What the server last said of the client under this name, if that is the one with this key (base64). */
  entryOf(name: string, key: string): DirectoryEntry | null {
    const entry = this.#contacts.get(name)?.entry ?? null;
    return entry?.key === key ? entry : null;
  }

  /** Whether this key (base64) is remembered for the name. Nothing is remembered by the question. */
  isKnown(name: string, key: string): boolean {
    try {
      return this.#isRemembered(name, key);
    } catch {
      return false; // another one is
    }
  }

  /** Whether the remembered key of the name has signed this one (base64); then this one is remembered. */
  async isSuccessor(name: string, key: string): Promise<boolean> {
    try {
      this.#checkPin(name, key);
      return false; // none is remembered
    } catch (error) {
      if (!isChangedKey(error)) return false;
      return await this.followKey(name, key, error).then(
        () => true,
        () => false,
      );
    }
  }

  /** The holder of the name, as far as that can be known now: for a user who wants to ignore it. */
  async identityOf(name: string): Promise<{ readonly key: string | null; readonly uid: number | null }> {
    const contact = this.#contacts.get(name);
    const entry = await this.lookup(name).catch(() => contact?.entry ?? null);
    const key = entry?.key ?? contact?.owner?.key ?? (await this.#askOwner(name))?.key ?? null;
    return { key, uid: entry !== null && entry.attested !== null ? entry.uid : null };
  }

  /** Where that client can be reached from here; empty: nowhere. */
  endpointsOf(entry: DirectoryEntry): readonly Endpoint[] {
    return this.#parts.endpointsOf(entry);
  }

  /** The server has told of a client, unasked. */
  learn(entry: DirectoryEntry): void {
    const name = foldIfValid(entry.name);
    if (name !== null) this.#learnAs(name, entry);
  }

  /** The server has told that a client left. Its last address is kept for a session that may be open. */
  onLeft(shown: string): void {
    const name = foldIfValid(shown);
    if (name !== null) this.#contacts.get(name)?.onLeft();
  }

  /** The server was away: everything is to be asked again, and serves meanwhile. */
  invalidate(): void {
    this.#doubtedAt = performance.now();
  }

  /** Tells the server now of the lookups that memory has answered. */
  tellLookups(): void {
    if (this.#touchTimer === undefined) return;
    clearTimeout(this.#touchTimer);
    this.#touchTimer = undefined;
    this.#touchedAt = performance.now();
    this.#parts.source.touch();
  }

  stats(): DirectoryStats {
    return { contacts: this.#contacts.size, lookups: this.#asked, fromMemory: this.#fromMemory };
  }

  close(): void {
    clearTimeout(this.#touchTimer);
  }

  #isFresh(at: number): boolean {
    return at > this.#doubtedAt && at > performance.now() - FRESH_MS;
  }

  #isCurrent(contact: Contact): boolean {
    return contact.isOn && (this.#isFresh(contact.entryAt) || !this.#parts.source.isConnected);
  }

  /** There is an address to go on with, whatever the server says. */
  #isUsable(contact: Contact | undefined): contact is Contact {
    if (contact === undefined) return false;
    return contact.isOn || this.#isMissed(contact) || this.#inConversation(contact) !== null;
  }

  #isMissed({ entry, missedAt }: Contact): boolean {
    return entry !== null && performance.now() - missedAt < MISSED_MS;
  }

  /** Beside a message that does not wait for the answer. Not with each of many. */
  #askAgain(name: string, contact: Contact): void {
    if (!this.#parts.source.isConnected || !contact.mayAsk(FRESH_MS)) return;
    this.lookup(name).catch(() => {});
  }

  /** Where an open session leads, whatever the server says of the client; null if there is none. */
  #inConversation({ entry, recipient }: Contact): DirectoryEntry | null {
    const { hasSession } = this.#parts;
    // Messages under way have followed the client to where the server saw it last, and it may only have spoken to us.
    if (entry !== null && (recipient === null || recipient.entry.key === entry.key)) {
      const key = recipient?.peer.key ?? Buffer.from(entry.key, "base64");
      if (hasSession({ key, endpoints: this.endpointsOf(entry) })) return entry;
    }
    return recipient !== null && hasSession(recipient.peer) ? recipient.entry : null;
  }

  /** @returns null if there is no such client. @throws TalkError unreachable, protocol if nothing was known before */
  async #current(name: string): Promise<Contact | null> {
    const before = this.#contacts.get(name);
    if (before !== undefined && this.#isCurrent(before)) {
      this.#noteMemory();
      return before;
    }
    const answer = this.lookup(name);
    if (!this.#isUsable(before)) await answer;
    else
      await withTimeout(
        KNOWN_PATIENCE_MS,
        answer.catch(() => null),
        null,
      );
    const contact = this.#contacts.get(name);
    return this.#isUsable(contact) ? contact : null;
  }

  /**
   * After a restart of the server its clients need a moment to come back. One that this server has seen has been back already; a
   * name that nobody ever had is a mistake.
   */
  async #mayReturn(name: string): Promise<boolean> {
    const { scope, source, peers } = this.#parts;
    if (source.settlingMs === 0) return false;
    const contact = this.#contacts.get(name);
    if (contact?.entry) return contact.entryAt < source.serverStartedAt;
    return peers.has(scope(), name) || (await source.ownerOf(name)) !== null;
  }

  /** The owner of the name; the last known one if the server cannot say. */
  async #askOwner(name: string): Promise<NameOwner | null> {
    const { source } = this.#parts;
    const contact = this.#contacts.get(name);
    const known = contact?.owner ?? null;
    if (!source.isConnected) return known;
    // Of somebody who is met for the first time also where it is: an answer finds its way, should the server go away.
    if (!contact?.entry) this.lookup(name).catch(() => {});
    return (await this.#ownerNow(name)) ?? known;
  }

  /** As the server says now; null also where it does not answer. */
  async #ownerNow(name: string): Promise<NameOwner | null> {
    try {
      return await this.#owners.run(name, async () => {
        this.#asked++;
        const asking = this.#contacts.touch(name);
        asking.onAskedOwner(performance.now());
        try {
          // Of a key with very many names some are its own only while it is on under them.
          const owner = (await this.#parts.source.ownerOf(name)) ?? (await this.lookup(name)) ?? null;
          if (owner !== null) this.#contacts.touch(name).onOwner(owner);
          return owner;
        } finally {
          asking.onAskedOwner(null);
        }
      });
    } catch {
      return null;
    }
  }

  #learnAs(name: string, entry: DirectoryEntry): void {
    this.#contacts.touch(name).onEntry(entry);
    this.#parts.onLearned(name, entry);
  }

  /**
   * A directory that gives the name to another key does not end a conversation: while its session is open, it goes on with the
   * key that is remembered.
   * @throws TalkError key-mismatch, not-understood
   */
  #recipient(name: string, contact: Contact): Recipient {
    const before = contact.recipient;
    // One that has left is usable for its open session only, and that may have ended just now; one that is on has an entry.
    const talking = contact.isOn ? null : (this.#inConversation(contact) ?? before?.entry);
    const entry = talking ?? (contact.entry as DirectoryEntry);
    this.#contacts.keep(name, contact);
    this.#parts.source.dealsWith(name);
    try {
      const isRemembered = this.#check(name, entry, before?.entry === entry);
      return contact.use(entry, isRemembered, this.#reachable);
    } catch (error) {
      const isOther = before?.isRemembered && before.entry.key !== entry.key;
      if (isOther && this.#parts.hasSession(before.peer)) return before;
      throw error;
    }
  }

  /** @throws TalkError not-delivered */
  readonly #reachable = (entry: DirectoryEntry): readonly Endpoint[] => {
    const endpoints = this.endpointsOf(entry);
    if (endpoints.length > 0) return endpoints;
    throw TalkError.notDelivered(entry.name, "it can be reached from its own host only, and that is not this one");
  };

  /** @returns whether the key is remembered. @throws TalkError key-mismatch, not-understood */
  #check(name: string, entry: DirectoryEntry, isVersionChecked = false): boolean {
    this.#checkLocal(name, entry, entry);
    const standing = this.#checkPin(name, entry.key);
    if (!isVersionChecked && entry.protocol !== PEER_PROTOCOL) throw otherVersion(entry);
    return standing === "known";
  }

  /** Memory has answered. The server hears of it, but no message waits for that. */
  #noteMemory(): void {
    this.#fromMemory++;
    if (this.#touchTimer !== undefined) return;
    const waitMs = Math.max(TOUCH_AFTER_MS, this.#touchedAt + TOUCH_EVERY_MS - performance.now());
    this.#touchTimer = setTimeout(() => this.tellLookups(), waitMs).unref();
  }

  /** @throws TalkError key-mismatch */
  #checkLocal(name: string, owner: Pick<NameOwner, "key" | "uid" | "attested">, entry: DirectoryEntry | null): void {
    const { key } = owner;
    // A MUNGE credential vouches for a user of another host, who may have another key there.
    const uid = owner.attested === "kernel" ? owner.uid : null;
    const isHere = entry?.key === key && isLoopback(entry.address);
    if (this.#parts.localUsers()?.isImpostor({ name, key, uid, isHere })) throw TalkError.impostor(name);
  }

  /** @throws TalkError refused, key-mismatch */
  #judge(name: string, key: string, isRemembered: boolean, owner: NameOwner | null): Sender {
    const isOwner = owner?.key === key || owner?.also?.includes(key) === true;
    if (!isRemembered && owner !== null && !isOwner) {
      throw TalkError.refused(`a stranger calls itself "${name}": the name belongs to another key`);
    }
    this.#checkLocal(
      name,
      isOwner ? owner : { key, uid: null, attested: null },
      this.#contacts.get(name)?.entry ?? null,
    );
    const verified = isRemembered ? owner === null || isOwner : isOwner && this.#pin(name, key);
    const contact = this.#contacts.get(name);
    const { user, uid, attested, isUnattestedLogin } = isOwner ? owner : NOBODY;
    if (verified) this.#parts.source.dealsWith(name);
    const shown = contact?.fingerprintOf(key) ?? fingerprintOf(key);
    return { verified, fingerprint: shown, user, uid, attested, isUnattestedLogin };
  }

  /**
   * Holds a key against the remembered one. If a login name of this host is claimed with a key that its user shows,
   * that key replaces the remembered one, and a line says so. @throws TalkError key-mismatch
   */
  #checkPin(name: string, key: string): "known" | "new" {
    const { scope, peers, localUsers } = this.#parts;
    try {
      return peers.check(scope(), name, key);
    } catch (error) {
      const isMismatch = error instanceof TalkError && error.code === "key-mismatch";
      if (!isMismatch || !localUsers()?.vouchesFor(name, key)) throw error;
      peers.replace(scope(), name, key);
      const text = `the key of ${JSON.stringify(name)} has changed to ${fingerprintOf(key)}: this host's kernel vouches for it, and it is remembered`;
      process.emitWarning(text, { code: "PTALK_KEY_REPLACED" });
      return "known";
    }
  }

  /** @throws TalkError key-mismatch. What cannot be read is not remembered. */
  #isRemembered(name: string, key: string): boolean {
    try {
      return this.#checkPin(name, key) === "known";
    } catch (error) {
      this.#warnUnlessMismatch(error);
      return false;
    }
  }

  /** @returns whether the key is remembered from now on. @throws TalkError key-mismatch: another process was quicker */
  #pin(name: string, key: string): boolean {
    const { scope, peers } = this.#parts;
    try {
      const isNew = peers.check(scope(), name, key) === "new";
      peers.remember(scope(), name, key);
      if (isNew) this.#parts.onMet(this.#contacts.get(name)?.entry?.name ?? name, fingerprintOf(key));
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

/** Whether the owner's key replaces that one. */
function leadsTo({ key, chain }: NameOwner, before: string): boolean {
  return chain !== undefined && predecessorsOf(key, chain)?.includes(before) === true;
}

const fingerprintOf = (key: string): string => fingerprint(Buffer.from(key, "base64"));

/** The remembered key is another one: its holder may have replaced it. */
function isChangedKey(error: unknown): error is TalkError {
  return error instanceof TalkError && error.code === "key-mismatch" && error.remedy === "forget-key";
}

/** The time that a caller gave is over, and it has not given up itself. */
function isLate(reason: unknown): boolean {
  return reason instanceof TalkError && reason.code === "not-delivered";
}

function isUnreachable(error: unknown): boolean {
  return error instanceof TalkError && error.code === "unreachable";
}

function otherVersion({ name, protocol }: DirectoryEntry): TalkError {
  const who = protocol < PEER_PROTOCOL ? `${name} has to upgrade ptalk` : "you have to upgrade ptalk";
  return TalkError.notUnderstood(
    name,
    `it speaks version ${protocol} of the peer protocol, not ${PEER_PROTOCOL}; ${who}`,
  );
}
