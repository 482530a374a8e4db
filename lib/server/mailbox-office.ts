// The mailbox as the primary runs it: what the workers ask for, one after the other where order counts, and leases that end with their
// connections. One process owns the files: the index, the room that each account takes and the leases are then plain variables, and no
// file has to be locked. Its work is waiting for the disk.
import { Mailbox, type MailboxLimits, type MailboxStats } from "../store/mailbox.ts";
import type { Log } from "./log.ts";
import type { MailboxAnswer, MailboxRequest } from "./messages.ts";

export class MailboxOffice {
  readonly #mailbox: Mailbox | null;
  readonly #log: Log;

  private constructor(mailbox: Mailbox | null, log: Log) {
    this.#mailbox = mailbox;
    this.#log = log;
  }

  /** @param path null: nothing is kept here @throws the system's error */
  static async open(path: string | null, limits: MailboxLimits, log: Log): Promise<MailboxOffice> {
    return new MailboxOffice(path === null ? null : await Mailbox.open(path, limits), log);
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
    this.#mailbox?.release((other) => other === lease);
  }

  /** All connections of the worker have. */
  workerDied(worker: number): void {
    const prefix = leaseOf(worker, "");
    this.#mailbox?.release((lease) => lease.startsWith(prefix));
  }

  async close(): Promise<void> {
    await this.#mailbox?.close();
  }

  async #carryOut(mailbox: Mailbox, worker: number, request: MailboxRequest): Promise<MailboxAnswer> {
    switch (request.op) {
      case "leave": {
        const at = await mailbox.leave({ ...request, bytes: Buffer.from(request.bytes, "base64") });
        if (at === null) return { op: "refused", why: "full" };
        return { op: "kept", at, until: mailbox.until(at), waiting: mailbox.waiting(request.to) };
      }
      case "take": {
        const taken = await mailbox.take(request.to, leaseOf(worker, request.connection), request.count);
        return { op: "taken", messages: taken.map((left) => ({ ...left, bytes: left.bytes.toString("base64") })) };
      }
      case "done":
        await mailbox.done(leaseOf(worker, request.connection), request.names);
        return { op: "done" };
    }
  }
}

const leaseOf = (worker: number, connection: number | ""): string => `${worker}:${connection}`;
