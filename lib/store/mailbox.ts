// Messages that wait for their recipients, at the server. They are sealed: the mailbox knows the recipient, the time,
// and the account that they count for. One file each, as in a Maildir; this process alone writes the folder, and alone
// knows what is in it: the folder is read at the start only, and an index serves from then on.
//
//  leave()   a new file in tmp: written, fsync; linked into new under a name that this process makes; fsync of the folder; then it counts
//  take()    a file that is handed out for the first time is renamed, NAME to NAME.h, and the folder synced, before it is handed out:
//            a later connection learns that another one may have had it. It is leased to one connection.
//  done()    the file goes, and the folder is synced.
//  release() the leases of a connection that has gone are given back.
//
// What another server hands over comes by leave(), with when it was left first, and whether somebody may have had it (server/peers/mail-handover.ts).
//
// A message that expires, or that its recipient cannot open, leaves a receipt for its sender, which the owner of the mailbox makes: it is
// on the disk before the message goes. Receipts leave none.
//
// Names sort in the order of linking, across restarts. A process that is killed between any two steps leaves a file in tmp, which the next
// one removes, or one in new, which counts.
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { link, open, readdir, readFile, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder } from "../base/files.ts";
import { failpoint } from "./failpoint.ts";

export interface MailboxLimits {
  /** Bytes of all files. */
  readonly bytes: number;
  /** Milliseconds that a message is kept. */
  readonly ageMs: number;
}

/** The share of the whole that one account may have: no account fills it alone. */
const ACCOUNT_SHARE = 1 / 4;
/** What all accounts together may have that the kernel does not vouch for. */
const UNATTESTED_SHARE = 1 / 10;
/** What receipts may have, beside the whole. */
const RECEIPT_SHARE = 1 / 16;
export interface MailboxStats {
  /** Messages and receipts that are kept. */
  readonly messages: number;
  /** What they count for, and may count for. */
  readonly bytes: number;
  readonly limit: number;
}

/** What a message counts for beside its bytes: an inode, and its place in the index. */
const FILE_COST = 512;
const EXPIRE_EVERY_MS = 60_000;
const TIME_DIGITS = 14;
const COUNT_DIGITS = 9;
const NAME = /^\d{14}\.\d{9}\.[0-9a-f]{16}(\.h)?$/;

export interface NewLeft {
  /** Folded name of the recipient. */
  readonly to: string;
  readonly id: string;
  /** The key that its sender has proved to hold. */
  readonly from: string;
  /** Folded name of its sender, to whom receipts go; empty: to nobody. */
  readonly sender: string;
  /** Whose room it takes: a user of this host, or an address. */
  readonly account: string;
  /** The kernel vouches for the account. */
  readonly attested: boolean;
  /** A receipt has a bound of its own, and is dropped beyond it. */
  readonly receipt: boolean;
  readonly bytes: Buffer;
}

/** Kept in the first line of a file, as JSON. */
interface Head extends Omit<NewLeft, "bytes"> {
  /** Milliseconds since the epoch. */
  readonly at: number;
}

interface Kept extends Head {
  /** Of the file, without ".h". */
  readonly name: string;
  readonly cost: number;
  handedOut: boolean;
  /** The connection that holds its lease. */
  lease: string | null;
}

/** The past of a message that was kept elsewhere before. */
export interface Carried {
  /** When it was left first, ms since the epoch. */
  readonly at: number;
  /** Somebody may have had it. */
  readonly again: boolean;
}

export interface TakenLeft extends Carried {
  /** For done(). */
  readonly name: string;
  readonly head: Omit<NewLeft, "bytes">;
  readonly bytes: Buffer;
}

/** Why a message was discarded without a word of its recipient. */
export type Undelivered = "expired" | "lost-key";

export interface MailboxOptions {
  readonly limits: MailboxLimits;
  /** The receipt for the sender of a message that is discarded; null: none. */
  readonly receiptFor?: (message: Omit<NewLeft, "bytes">, why: Undelivered) => NewLeft | null;
  /** A receipt has been left for this name. */
  readonly onReceipt?: (to: string) => void;
}

export class Mailbox {
  readonly #new: string;
  readonly #tmp: string;
  readonly #limits: MailboxLimits;
  readonly #options: MailboxOptions;
  readonly #byName = new Map<string, Kept>();
  /** By recipient, oldest first. */
  readonly #boxes = new Map<string, Kept[]>();
  #count = 0;
  #lastTime = 0;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<unknown> = Promise.resolve();
  /** Being written: a sender whose connection breaks off leaves the same again. */
  readonly #leaving = new Map<string, Promise<number | null>>();
  readonly #costs = { texts: 0, unattested: 0, receipts: 0, accounts: new Map<string, number>() };

  private constructor(path: string, options: MailboxOptions) {
    this.#new = join(path, "new");
    this.#tmp = join(path, "tmp");
    this.#limits = options.limits;
    this.#options = options;
  }

  /** @throws the system's error */
  static async open(path: string, options: MailboxOptions): Promise<Mailbox> {
    const mailbox = new Mailbox(path, options);
    await mailbox.#load();
    return mailbox;
  }

  get stats(): MailboxStats {
    const { texts, receipts } = this.#costs;
    return { messages: this.#byName.size, bytes: texts + receipts, limit: this.#limits.bytes * (1 + RECEIPT_SHARE) };
  }

  /** When a message left now is discarded. */
  until(at: number): number {
    return at + this.#limits.ageMs;
  }

  /** Messages for this recipient without a lease at the moment. @param to folded */
  waiting(to: string): number {
    return (this.#boxes.get(to) ?? []).filter(({ lease }) => lease === null).length;
  }

  /** Folded names for which something is kept. */
  recipients(): Iterable<string> {
    return this.#boxes.keys();
  }

  /**
   * Fulfilled once it is on the disk, with when that was; the same again for an id that its sender has left already.
   * @param carried it comes from another mailbox
   * @returns null: there is no room
   * @throws the system's error; it is not kept then
   */
  async leave(message: NewLeft, carried: Carried | null = null): Promise<number | null> {
    const { to, id, from, receipt } = message;
    let kept = this.#same(message);
    if (kept === undefined) {
      const which = JSON.stringify([to, id, from, receipt]);
      const underWay =
        this.#leaving.get(which) ?? this.#leave(message, carried).finally(() => this.#leaving.delete(which));
      this.#leaving.set(which, underWay);
      const at = await underWay;
      kept = this.#same(message);
      if (at === null || kept === undefined) return at; // no room; or it was taken in the same moment
    }
    // The other one may have been shown.
    if (carried?.again && !kept.handedOut && kept.lease === null) await this.#markShown(kept);
    return kept.at;
  }

  async #markShown(kept: Kept): Promise<void> {
    kept.lease = ""; // nobody takes it meanwhile
    try {
      await this.#markHandedOut(kept);
      await this.#sync();
    } finally {
      kept.lease = null;
    }
  }

  #same({ to, id, from, receipt }: NewLeft): Kept | undefined {
    const isSame = (kept: Kept): boolean => kept.id === id && kept.from === from && kept.receipt === receipt;
    return this.#boxes.get(to)?.find(isSame);
  }

  async #leave(message: NewLeft, carried: Carried | null): Promise<number | null> {
    const { at, again } = carried ?? { at: Date.now(), again: false };
    const { to, id, from, sender, account, attested, receipt } = message;
    const head: Head = { to, id, from, sender, account, attested, receipt, at };
    const file = Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), message.bytes]);
    const cost = file.length + FILE_COST;
    if (!this.#hasRoom(head, cost)) return null;
    this.#charge(head, cost);
    try {
      const name = await this.#write(file, again);
      this.#index({ ...head, name, cost, handedOut: again, lease: null });
    } catch (error) {
      this.#charge(head, -cost);
      throw error;
    }
    return at;
  }

  /** Leases the oldest without a lease. @param to folded @param lease its connection: until done() or release() */
  async take(to: string, lease: string, count: number): Promise<TakenLeft[]> {
    const free = (this.#boxes.get(to) ?? []).filter((kept) => kept.lease === null).slice(0, count);
    for (const kept of free) kept.lease = lease; // before anything is waited for
    const taken: TakenLeft[] = [];
    try {
      for (const kept of free) {
        const file = await readFile(this.#path(kept));
        const again = kept.handedOut;
        if (!kept.handedOut) await this.#markHandedOut(kept);
        const { name, at, id, from, sender, account, attested, receipt } = kept;
        const bytes = file.subarray(file.indexOf("\n") + 1);
        taken.push({ name, at, again, head: { to, id, from, sender, account, attested, receipt }, bytes });
      }
      if (free.length > 0) await this.#sync();
      await failpoint("handed out");
    } catch (error) {
      for (const kept of free) kept.lease = null;
      throw error;
    }
    return taken;
  }

  /** Forgets messages that this lease has; others are passed over. @param lost the recipient could not open them */
  async done(lease: string, names: readonly string[], lost = false): Promise<void> {
    const mine = names.flatMap((name) => this.#byName.get(name) ?? []).filter((kept) => kept.lease === lease);
    for (const kept of mine) {
      if (lost) await this.#tellSender(kept, "lost-key");
      await this.#remove(kept);
    }
    if (mine.length > 0) await this.#sync();
  }

  /** @returns the recipients whose messages are free again */
  release(isLease: (lease: string, to: string) => boolean): string[] {
    const recipients = new Set<string>();
    for (const kept of this.#byName.values()) {
      if (kept.lease === null || !isLease(kept.lease, kept.to)) continue;
      kept.lease = null;
      recipients.add(kept.to);
    }
    return [...recipients];
  }

  /** Operations that are under way end first. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running.catch(() => {});
  }

  async #load(): Promise<void> {
    for (const folder of [this.#tmp, this.#new]) makeFolder(folder);
    for (const file of await readdir(this.#tmp)) await unlink(join(this.#tmp, file));
    for (const file of (await readdir(this.#new)).sort()) {
      if (!NAME.test(file)) continue;
      const kept = await readKept(join(this.#new, file), file);
      if (kept === null) continue; // none of ours; it takes no room, and hides nothing
      this.#index(kept);
      this.#charge(kept, kept.cost);
      // Sorted: the last one is the latest.
      this.#lastTime = Number(file.slice(0, TIME_DIGITS));
      this.#count = Number(file.slice(TIME_DIGITS + 1, TIME_DIGITS + 1 + COUNT_DIGITS));
    }
    this.#timer = setInterval(() => void this.#expire().catch(() => {}), EXPIRE_EVERY_MS).unref();
    await this.#expire();
  }

  /** @returns the name that it has in new, without ".h" */
  async #write(file: Buffer, isHandedOut: boolean): Promise<string> {
    const path = join(this.#tmp, randomBytes(8).toString("hex"));
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
    const handle = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    try {
      try {
        await failpoint("created");
        await handle.writeFile(file);
        await failpoint("written");
        await handle.sync();
        await failpoint("file synced");
      } finally {
        await handle.close();
      }
      return await this.#inTurn(async () => {
        const name = this.#newName();
        await link(path, join(this.#new, isHandedOut ? `${name}.h` : name));
        await failpoint("linked");
        await this.#sync();
        await failpoint("folder synced");
        return name;
      });
    } finally {
      await unlink(path).catch(() => {});
    }
  }

  /** The order of the names is that in which the messages begin to count. */
  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#running.then(task, task);
    this.#running = result.catch(() => {});
    return result;
  }

  #newName(): string {
    const now = Math.max(Date.now(), this.#lastTime); // a clock that goes back changes no order
    this.#count = now === this.#lastTime ? this.#count + 1 : 0;
    this.#lastTime = now;
    const order = `${String(now).padStart(TIME_DIGITS, "0")}.${String(this.#count).padStart(COUNT_DIGITS, "0")}`;
    return `${order}.${randomBytes(8).toString("hex")}`;
  }

  async #markHandedOut(kept: Kept): Promise<void> {
    const before = this.#path(kept);
    await rename(before, `${before}.h`);
    kept.handedOut = true;
    await failpoint("renamed");
  }

  async #remove(kept: Kept): Promise<void> {
    await unlink(this.#path(kept)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
    await failpoint("unlinked");
    this.#byName.delete(kept.name);
    const box = (this.#boxes.get(kept.to) ?? []).filter((other) => other !== kept);
    if (box.length === 0) this.#boxes.delete(kept.to);
    else this.#boxes.set(kept.to, box);
    this.#charge(kept, -kept.cost);
  }

  async #sync(): Promise<void> {
    const folder = await open(this.#new, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  }

  async #expire(): Promise<void> {
    const oldest = Date.now() - this.#limits.ageMs;
    const old = [...this.#byName.values()].filter(({ at, lease }) => at < oldest && lease === null);
    for (const kept of old) {
      await this.#tellSender(kept, "expired");
      await this.#remove(kept);
    }
    if (old.length > 0) await this.#sync();
  }

  /** A receipt that there is no room for is dropped: the sender learns less, and nothing wrong. */
  async #tellSender(kept: Kept, why: Undelivered): Promise<void> {
    const { receiptFor, onReceipt } = this.#options;
    const receipt = kept.receipt || kept.sender === "" ? null : (receiptFor?.(kept, why) ?? null);
    if (receipt === null) return;
    const at = await this.leave(receipt).catch(() => null);
    if (at !== null) onReceipt?.(receipt.to);
  }

  #index(kept: Kept): void {
    this.#byName.set(kept.name, kept);
    const box = this.#boxes.get(kept.to);
    if (box === undefined) this.#boxes.set(kept.to, [kept]);
    else box.push(kept);
  }

  #hasRoom({ account, attested, receipt }: Head, cost: number): boolean {
    const { bytes } = this.#limits;
    const { texts, unattested, receipts, accounts } = this.#costs;
    if (receipt) {
      const room = bytes * RECEIPT_SHARE;
      return receipts + cost <= room && (accounts.get(receiptsOf(account)) ?? 0) + cost <= room * ACCOUNT_SHARE;
    }
    if (texts + cost > bytes) return false;
    if (!attested && unattested + cost > bytes * UNATTESTED_SHARE) return false;
    return (accounts.get(account) ?? 0) + cost <= bytes * ACCOUNT_SHARE;
  }

  #charge({ account, attested, receipt }: Head, cost: number): void {
    if (receipt) this.#costs.receipts += cost;
    else {
      this.#costs.texts += cost;
      if (!attested) this.#costs.unattested += cost;
    }
    const name = receipt ? receiptsOf(account) : account;
    const sum = (this.#costs.accounts.get(name) ?? 0) + cost;
    if (sum === 0) this.#costs.accounts.delete(name);
    else this.#costs.accounts.set(name, sum);
  }

  #path({ name, handedOut }: Kept): string {
    return join(this.#new, handedOut ? `${name}.h` : name);
  }
}

/** Under which an account's receipts are charged: beside its messages. */
const receiptsOf = (account: string): string => `receipts of ${account}`;

async function readKept(path: string, file: string): Promise<Kept | null> {
  const bytes = await readFile(path).catch(() => null);
  const end = bytes?.indexOf("\n") ?? -1;
  if (bytes === null || end < 0) return null;
  try {
    const { to, id, from, sender, account, attested, receipt, at } = JSON.parse(bytes.toString("utf8", 0, end)) as Head;
    if (
      ![to, id, from, sender].every((text) => typeof text === "string") ||
      typeof account !== "string" ||
      typeof at !== "number"
    )
      return null;
    const handedOut = file.endsWith(".h");
    const name = handedOut ? file.slice(0, -2) : file;
    const head = { to, id, from, sender, account, attested: attested === true, receipt: receipt === true, at };
    return { ...head, name, cost: bytes.length + FILE_COST, handedOut, lease: null };
  } catch {
    return null;
  }
}
