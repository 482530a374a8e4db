// Messages that wait at the server while their recipients are off: leaving one, and getting those that were left for this client. Owns the
// conversation with the mailbox. Knows the server's session, the seal, and InboundMessages, which treats them like any other.
//
// Leaving, leave():                                   Getting, check():
//  1. the recipient's key: the remembered one, or,     1. TAKE leases the oldest to this connection, when it has registered, after
//     for a name that is met for the first time, the      each reconnect, and whenever a push says that there is one
//     server's word on it                              2. the seal is opened: the key that opens it is the sender's
//  2. sealed for that key, names and id inside         3. it goes the way of a message that comes directly; one that was shown
//  3. LEAVE is answered once it is on the disk            already, direct or left, is not shown again
//                                                      4. its id is logged, on the disk; its sender gets a receipt
//                                                      5. DONE: the server forgets it
// A message interrupted before DONE comes again, marked: a connection that ends gives its leases back.
import { debuglog } from "node:util";
import { TalkError } from "../base/errors.ts";
import { foldIfValid, foldName } from "../base/names.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import type { Identity } from "../crypto/identity.ts";
import { openSealed, sealFor } from "../crypto/sealed-message.ts";
import type { KnownPeers } from "../store/known-peers.ts";
import type { SeenIds } from "../store/seen-ids.ts";
import type { Outcome } from "../wire/datagram-frames.ts";
import type { NewMessageBody } from "../wire/datagram-message.ts";
import { decodeLeft, encodeLeftText, encodeReceipt, type Receipt, type ReceiptState } from "../wire/left-body.ts";
import { ReplyError, type RespValue } from "../wire/resp-reply.ts";
import type { AddressBook } from "./address-book.ts";
import type { InboundMessages } from "./inbound.ts";
import type { ServerSession } from "./server-session.ts";
import type { KeptEvent, ReceiptEvent } from "./types.ts";

const debug = debuglog("ptalk-client");

export interface LeftParts {
  readonly name: string;
  readonly identity: Identity;
  /** Keys of this user that were replaced lately. */
  readonly oldIdentities: () => readonly Identity[];
  readonly peers: Pick<KnownPeers, "keyFor" | "check" | "remember">;
  readonly session: Pick<ServerSession, "request" | "ownerOf" | "scope" | "isServerKey">;
  readonly book: Pick<AddressBook, "verifySender" | "followKey">;
  readonly inbound: Pick<InboundMessages, "receive">;
  readonly seen: Pick<SeenIds, "addSynced">;
  readonly onReceipt: (event: ReceiptEvent) => void;
}

/** As TAKE gives it. */
interface Taken {
  /** For DONE. */
  readonly name: string;
  readonly leftAt: number;
  readonly again: boolean;
  readonly sealed: Buffer;
}

export class LeftMessages {
  readonly #parts: LeftParts;
  #checking: Promise<void> | undefined;
  #isDue = false;
  /** One was not shown, or this program ends: it, and those behind it, are for another program. */
  #isStopped = false;
  #before: readonly Identity[] | undefined;
  /** The server says that it keeps none. */
  #hasNoMailbox = false;

  constructor(parts: LeftParts) {
    this.#parts = parts;
  }

  /**
   * Keeps a message at the server; fulfilled once it is on its disk.
   * @throws TalkError no-key, key-mismatch, mailbox-full, not-understood (no mailbox there), too-long, try-again, unreachable
   */
  async leave(to: string, message: NewMessageBody): Promise<KeptEvent> {
    const name = foldIfValid(to);
    if (name === null) throw TalkError.noSuchUser(to);
    const { key, isNew } = await this.#keyOf(name, to);
    const body = encodeLeftText(name, message);
    const sealed = body && sealFor(key, this.#parts.identity, body);
    if (!sealed) throw TalkError.badData("the message cannot be sealed");
    const [, until] = (await this.#ask(to, "LEAVE", name, message.id, sealed.toString("base64"))) as [string, string];
    if (isNew) this.#remember(name, key);
    return { id: message.id, to, at: Date.now(), until: Date.parse(until), newKey: isNew ? fingerprint(key) : null };
  }

  /** Why leave() would fail, as far as that is known without trying; null if nothing speaks against it. */
  async obstacle(to: string): Promise<TalkError | null> {
    if (this.#hasNoMailbox) return TalkError.noMailbox(to);
    const name = foldIfValid(to);
    if (name === null) return TalkError.noSuchUser(to);
    try {
      await this.#keyOf(name, to);
      return null;
    } catch (error) {
      if (error instanceof TalkError) return error;
      throw error;
    }
  }

  /** Gets the messages that were left, one after the other. Never rejects; fulfilled when there are no more. */
  check(): Promise<void> {
    this.#isDue = true;
    this.#checking ??= this.#checkAll().finally(() => {
      this.#checking = undefined;
    });
    return this.#checking;
  }

  /** Takes no more. Fulfilled once the one that is being shown is logged, its sender has the receipt, and the server knows. */
  async close(): Promise<void> {
    this.#isStopped = true;
    await this.#checking;
  }

  async #take(): Promise<Taken | undefined> {
    return this.#isStopped ? undefined : takenFrom(await this.#parts.session.request("TAKE"));
  }

  async #checkAll(): Promise<void> {
    const { session } = this.#parts;
    this.#hasNoMailbox = false; // another server may have one
    try {
      while (this.#isDue && !this.#isStopped) {
        this.#isDue = false;
        for (let taken = await this.#take(); taken; taken = await this.#take()) {
          const fate = await this.#receive(taken);
          if (fate === "stays") {
            this.#isStopped = true;
            return;
          }
          await session.request("DONE", taken.name, ...(fate === "lost" ? ["LOST"] : []));
        }
      }
    } catch (error) {
      if (error instanceof ReplyError) this.#hasNoMailbox = error.code === "NOMAILBOX";
      // Without a mailbox there is nothing; a connection that broke off is replaced, and the next one asks again.
      debug("left messages: %s", error instanceof Error ? error.message : error);
    }
  }

  /** @returns what the server is to know of it: "done", "lost" (this user has no key that opens it), or nothing: it "stays" there */
  async #receive({ leftAt, again, sealed }: Taken): Promise<"done" | "lost" | "stays"> {
    const opened = this.#open(sealed);
    if (!opened) return "lost";
    const body = decodeLeft(opened.body);
    // By a later version, or moved here from another mailbox: it is of no use to anybody.
    if (!body || foldName(body.to) !== foldName(this.#parts.name)) return "done";
    if (body.type === "receipt") {
      await this.#receiveReceipt(opened.key, body, leftAt);
      return "done";
    }
    const { id, from, text, auto } = body.message;
    const way = { room: null, via: "direct" as const, address: { address: "", port: 0 }, at: Date.now(), leftAt };
    const incoming = { key: opened.key, id, from, text, auto, repeated: true, again, ...way };
    const outcome = await new Promise<Outcome | null>((resolve) => {
      const settle = (settled: Outcome): void => resolve(settled);
      const received = this.#parts.inbound.receive(incoming, settle, { begin: () => true, release: () => {} });
      received.then(
        () => resolve(null),
        () => resolve(null),
      );
    });
    if (outcome === null) return "stays";
    if (outcome === "accepted") await this.#parts.seen.addSynced(opened.key, id);
    if (outcome === "accepted" || outcome === "declined") {
      await this.#sendReceipt(opened.key, from, id, outcome === "accepted" ? "delivered" : "declined");
    }
    return "done";
  }

  /** Messages that were left before this user's key was replaced are sealed for the key before. */
  #open(sealed: Buffer): ReturnType<typeof openSealed> {
    const { identity, oldIdentities } = this.#parts;
    const opened = openSealed(identity, sealed);
    if (opened !== null) return opened;
    this.#before ??= oldIdentities();
    for (const before of this.#before) {
      const known = openSealed(before, sealed);
      if (known !== null) return known;
    }
    return null;
  }

  /** @param leftAt when it was left at the server: a moment after what it tells of */
  async #receiveReceipt(key: Buffer, { from, id, state }: Receipt, leftAt: number): Promise<void> {
    const name = foldIfValid(from);
    if (name === null) return;
    // A server of the directory may say that the recipient has not seen it; only the recipient says what became of it.
    if (state === "expired" || state === "lost-key") {
      if (!(await this.#parts.session.isServerKey(key.toString("base64")))) return;
    } else {
      try {
        await this.#parts.book.verifySender(name, key);
      } catch {
        return; // somebody else's word
      }
    }
    this.#parts.onReceipt({ id, to: from, at: leftAt, state });
  }

  /** Should it be lost, the sender learns less, and nothing wrong. */
  async #sendReceipt(key: Buffer, to: string, id: string, state: ReceiptState): Promise<void> {
    const { identity, name, session } = this.#parts;
    const sealed = sealFor(key, identity, encodeReceipt(to, { from: name, id, state }));
    if (sealed === null) return;
    const sent = session.request("LEAVE", to, id, sealed.toString("base64"), "RECEIPT");
    await sent.catch((error: unknown) => debug("receipt: %s", error instanceof Error ? error.message : error));
  }

  /** The key that a message was sealed for counts from now on: another key under the name is reported. It is kept in any case. */
  #remember(name: string, key: Buffer): void {
    const { peers, session } = this.#parts;
    try {
      peers.remember(session.scope, name, key.toString("base64"));
    } catch (error) {
      debug("the key of %s is not remembered: %s", name, error instanceof Error ? error.message : error);
    }
  }

  /** @throws TalkError no-key, key-mismatch */
  async #keyOf(name: string, shown: string): Promise<{ key: Buffer; isNew: boolean }> {
    const { peers, session } = this.#parts;
    const remembered = peers.keyFor(session.scope, name) ?? null;
    const owner = (await session.ownerOf(name).catch(() => null))?.key ?? null;
    if (owner === null || owner === remembered) return this.#known(shown, remembered);
    try {
      peers.check(session.scope, name, owner);
    } catch (error) {
      if (!(error instanceof TalkError) || remembered === null) throw error;
      await this.#parts.book.followKey(name, owner, error);
      return this.#known(shown, owner);
    }
    return { key: Buffer.from(owner, "base64"), isNew: true };
  }

  /** @throws TalkError no-key */
  #known(shown: string, key: string | null): { key: Buffer; isNew: boolean } {
    if (key === null) throw TalkError.noKey(shown);
    return { key: Buffer.from(key, "base64"), isNew: false };
  }

  /** @throws TalkError */
  async #ask(to: string, ...args: string[]): Promise<RespValue> {
    try {
      return await this.#parts.session.request(...args);
    } catch (error) {
      if (!(error instanceof ReplyError)) throw error;
      if (error.code === "MAILBOXFULL") throw TalkError.mailboxFull(to, error);
      if (error.code === "NOMAILBOX") throw TalkError.noMailbox(to, error);
      throw new TalkError("try-again", `the message for ${JSON.stringify(to)} is not kept: ${error.message}`, {
        cause: error,
      });
    }
  }
}

/** The first of a reply to TAKE; undefined if there is none. */
function takenFrom(reply: RespValue): Taken | undefined {
  const [first] = Array.isArray(reply) ? reply : [];
  if (!Array.isArray(first)) return undefined;
  const [name, leftAt, again, bytes] = first;
  if (typeof name !== "string" || typeof leftAt !== "string" || typeof bytes !== "string") return undefined;
  return { name, leftAt: Date.parse(leftAt), again: again === 1, sealed: Buffer.from(bytes, "base64") };
}
