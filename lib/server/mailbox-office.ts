// The mailbox as the primary runs it: what the workers ask for, one after the other where order counts, and leases that end with their
// connections. One process owns the files: the index, the room that each account takes and the leases are then plain variables, and no
// file has to be locked. Its work is waiting for the disk.
import { Identity } from "../crypto/identity.ts";
import { sealFor } from "../crypto/sealed-message.ts";
import {
  type Carried,
  Mailbox,
  type MailboxLimits,
  type MailboxStats,
  type NewLeft,
  type TakenLeft,
  type Undelivered,
} from "../store/mailbox.ts";
import { encodeReceipt } from "../wire/left-body.ts";
import type { Log } from "./log.ts";
import type { MailboxAnswer, MailboxRequest } from "./messages.ts";

export interface MailboxOfficeOptions {
  /** Null: nothing is kept here. */
  readonly path: string | null;
  readonly limits: MailboxLimits;
  /** The server's own, base64: receipts of what it discards are sealed with it. */
  readonly serverSeed: string;
  readonly log: Log;
}

/** A server without a mailbox; no room; it would be discarded at once; the disk. */
export type NotAccepted = "none" | "full" | "old" | "failed";

export class MailboxOffice {
  #mailbox: Mailbox | null = null;
  readonly #identity: Identity;
  readonly #log: Log;
  /** Called when a receipt of the server's has been left for a name: so many wait there. */
  onReceipt: (to: string, waiting: number) => void = () => {};
  /** Something for that name has been left, or can be had again: its recipient may be on at another server. */
  onWaiting: (to: string) => void = () => {};

  private constructor({ serverSeed, log }: MailboxOfficeOptions) {
    this.#identity = new Identity(Buffer.from(serverSeed, "base64"));
    this.#log = log;
  }

  /** @throws the system's error */
  static async open(options: MailboxOfficeOptions): Promise<MailboxOffice> {
    const office = new MailboxOffice(options);
    const { path, limits } = options;
    if (path === null) return office;
    office.#mailbox = await Mailbox.open(path, {
      limits,
      receiptFor: (message, why) => office.#receiptFor(message, why),
      onReceipt: (to) => office.onReceipt(to, office.#mailbox?.waiting(to) ?? 0),
    });
    return office;
  }

  /** Null: nothing is kept here. */
  get stats(): MailboxStats | null {
    return this.#mailbox?.stats ?? null;
  }

  /** Never rejects. @param worker that has the connection */
  async answer(worker: number, request: MailboxRequest): Promise<MailboxAnswer> {
    if (this.#mailbox === null) return { op: "refused", why: "none" };
    try {
      return await this.#carryOut(this.#mailbox, worker, request);
    } catch (error) {
      this.#log.error("the mailbox failed", { error });
      return { op: "refused", why: "failed" };
    }
  }

  /** The connection has gone. */
  release(worker: number, connection: number): void {
    const lease = leaseOf(worker, connection);
    this.#release((other) => other === lease);
  }

  /** All connections of the worker have. */
  workerDied(worker: number): void {
    const prefix = leaseOf(worker, "");
    this.#release((lease) => lease.startsWith(prefix));
  }

  #release(isLease: (lease: string) => boolean): void {
    for (const to of this.#mailbox?.release(isLease) ?? []) this.onWaiting(to);
  }

  /** Folded names for which something is kept. */
  recipients(): Iterable<string> {
    return this.#mailbox?.recipients() ?? [];
  }

  /** Messages for a name that can be had. */
  waiting(to: string): number {
    return this.#mailbox?.waiting(to) ?? 0;
  }

  /** The oldest message for a name, leased to another server; undefined: none. @throws the system's error */
  async takeFor(server: string, to: string): Promise<TakenLeft | undefined> {
    return (await this.#mailbox?.take(to, leaseOfServer(server), 1))?.[0];
  }

  /** The other server has it on its disk. @throws the system's error */
  async gone(server: string, name: string): Promise<void> {
    await this.#mailbox?.done(leaseOfServer(server), [name]);
  }

  /** It has not said so: it may have it. */
  keep(server: string, to: string): void {
    const lease = leaseOfServer(server);
    this.#mailbox?.release((other, recipient) => other === lease && recipient === to);
  }

  /** Keeps what another server hands over; fulfilled once it is on the disk. Never rejects. @returns why it is not kept, null if it is */
  async accept(message: NewLeft, carried: Carried): Promise<NotAccepted | null> {
    const mailbox = this.#mailbox;
    if (mailbox === null) return "none";
    if (mailbox.until(carried.at) <= Date.now()) return "old";
    try {
      return (await mailbox.leave(message, carried)) === null ? "full" : null;
    } catch (error) {
      this.#log.error("the mailbox failed", { error });
      return "failed";
    }
  }

  async close(): Promise<void> {
    await this.#mailbox?.close();
  }

  async #carryOut(mailbox: Mailbox, worker: number, request: MailboxRequest): Promise<MailboxAnswer> {
    switch (request.op) {
      case "leave": {
        const at = await mailbox.leave({ ...request, bytes: Buffer.from(request.bytes, "base64") });
        if (at === null) return { op: "refused", why: "full" };
        const waiting = mailbox.waiting(request.to);
        this.onWaiting(request.to);
        return { op: "kept", at, until: mailbox.until(at), waiting };
      }
      case "take": {
        const taken = await mailbox.take(request.to, leaseOf(worker, request.connection), request.count);
        return {
          op: "taken",
          messages: taken.map(({ name, at, again, bytes }) => ({ name, at, again, bytes: bytes.toString("base64") })),
        };
      }
      case "done":
        await mailbox.done(leaseOf(worker, request.connection), request.names, request.lost);
        return { op: "done" };
    }
  }

  /**
   * The server's word, sealed for the sender's key: nobody else has to learn of it, and the sender knows whose word it is. It
   * counts for the account that left the message.
   */
  #receiptFor({ to, id, from, sender, account, attested }: Omit<NewLeft, "bytes">, why: Undelivered): NewLeft | null {
    const body = encodeReceipt(sender, { from: to, id, state: why });
    const bytes = sealFor(Buffer.from(from, "base64"), this.#identity, body);
    if (bytes === null) return null;
    const own = this.#identity.publicKey.toString("base64");
    // One id may have been left for several names.
    return { to: sender, id: `${id} ${to}`, from: own, sender: "", account, attested, receipt: true, bytes };
  }
}

const leaseOf = (worker: number, connection: number | ""): string => `${worker}:${connection}`;
/** Begins as no worker's does. */
const leaseOfServer = (server: string): string => `server ${server}`;
