// What is known of names, by folded name: where the client is, whose the name is, and since when that is known. Two bounded maps,
// so that strangers who write to us, and everybody who comes on, do not push out the names that we write to; in each, the one used
// longest ago makes room. Knows no server, and not whom to trust.
import type { Endpoint } from "../base/endpoint.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import type { DirectoryEntry, NameOwner } from "../directory/entry.ts";
import type { PeerIdentity } from "../peer/types.ts";

/** Names that we write to: one conversation each, for as long as the server is away. */
const MAX_PARTNERS = 1024;
/** Names that wrote to us, or that the server told of. */
const MAX_OTHERS = 1024;

/** Whom a message goes to. */
export interface Recipient {
  readonly entry: DirectoryEntry;
  readonly peer: PeerIdentity;
  /** The key is the remembered one: nothing is left to do once it has answered. */
  readonly isRemembered: boolean;
}

/** One name. Times are monotonic milliseconds. */
export class Contact {
  #entry: DirectoryEntry | null = null;
  #entryAt = 0;
  #isOn = false;
  #missedAt = Number.NEGATIVE_INFINITY;
  #askedOwnerAt: number | null = null;
  #askedAt = Number.NEGATIVE_INFINITY;
  #owner: NameOwner | null = null;
  #ownerAt = 0;
  #recipient: Recipient | null = null;
  #fingerprint: { readonly key: string; readonly text: string } | null = null;

  /** What the server said last of the client under this name, which may have left since; null if it said nothing. */
  get entry(): DirectoryEntry | null {
    return this.#entry;
  }
  get entryAt(): number {
    return this.#entryAt;
  }
  /** The server has not said since that the client has left. */
  get isOn(): boolean {
    return this.#isOn;
  }
  /** When the server was first asked for the client and knew of none, though it has not said that the client left. */
  get missedAt(): number {
    return this.#missedAt;
  }
  /** Since when the server owes an answer to the question whose the name is; null while it owes none. */
  get askedOwnerAt(): number | null {
    return this.#askedOwnerAt;
  }
  /** The owner to whom the server binds the name; null if it said nothing. */
  get owner(): NameOwner | null {
    return this.#owner;
  }
  get ownerAt(): number {
    return this.#ownerAt;
  }
  /** Whom the last message went to. */
  get recipient(): Recipient | null {
    return this.#recipient;
  }

  /** The server says that this client is on under the name. */
  onEntry(entry: DirectoryEntry): void {
    this.#entry = entry;
    this.#entryAt = performance.now();
    this.#isOn = true;
    this.onOwner(entry);
  }

  onOwner(owner: NameOwner): void {
    this.#owner = owner;
    this.#ownerAt = performance.now();
  }

  /** The server has seen it leave. */
  onLeft(): void {
    this.#isOn = false;
    this.#missedAt = Number.NEGATIVE_INFINITY;
  }

  /** The server knows of no such client. */
  onMissed(): void {
    if (this.#isOn) this.#missedAt = performance.now();
    this.#isOn = false;
  }

  /** False within `everyMs` of the last time that this said true: the server is not asked with each message. */
  mayAsk(everyMs: number): boolean {
    const now = performance.now();
    if (now - this.#askedAt < everyMs) return false;
    this.#askedAt = now;
    return true;
  }

  onAskedOwner(at: number | null): void {
    this.#askedOwnerAt = at;
  }

  /**
   * Messages go to this client from now on.
   * @param endpointsOf called for an entry that is new here
   * @returns the same as before if nothing has changed
   */
  use(
    entry: DirectoryEntry,
    isRemembered: boolean,
    endpointsOf: (entry: DirectoryEntry) => readonly Endpoint[],
  ): Recipient {
    const before = this.#recipient;
    if (before?.entry === entry && before.isRemembered === isRemembered) return before;
    const { key, name } = entry;
    const isSame = before?.entry === entry;
    const peer = isSame ? before.peer : { key: Buffer.from(key, "base64"), name, endpoints: endpointsOf(entry) };
    this.#recipient = { entry, peer, isRemembered };
    return this.#recipient;
  }

  /** Of a key (base64) that a sender under this name holds. */
  fingerprintOf(key: string): string {
    if (this.#fingerprint?.key !== key) this.#fingerprint = { key, text: fingerprint(Buffer.from(key, "base64")) };
    return this.#fingerprint.text;
  }
}

export class Contacts {
  readonly #partners = new Map<string, Contact>();
  readonly #others = new Map<string, Contact>();

  get size(): number {
    return this.#partners.size + this.#others.size;
  }

  get(name: string): Contact | undefined {
    return this.#partners.get(name) ?? this.#others.get(name);
  }

  /** The one of that name, made if there is none. It counts as used just now. */
  touch(name: string): Contact {
    const contact = this.get(name) ?? new Contact();
    if (this.#partners.has(name)) put(this.#partners, name, contact, MAX_PARTNERS);
    else put(this.#others, name, contact, MAX_OTHERS);
    return contact;
  }

  /** We write to this one. */
  keep(name: string, contact: Contact): void {
    this.#others.delete(name);
    put(this.#partners, name, contact, MAX_PARTNERS);
  }
}

function put(contacts: Map<string, Contact>, name: string, contact: Contact, most: number): void {
  contacts.delete(name); // to the end: a Map keeps the order of insertion
  contacts.set(name, contact);
  const [oldest] = contacts.keys();
  if (contacts.size > most && oldest !== undefined) contacts.delete(oldest);
}
