// A connection for an administrator of a server: the request ADMIN. The server's kernel says who asks, so it works over a Unix socket only.
import { TalkError } from "../base/errors.ts";
import { ReplyError, type RespValue } from "../wire/resp-reply.ts";
import { openConnection } from "./directory-reader.ts";
import type { ServerConnection } from "./server-connection.ts";
import type { EpochMs, OpenDirectoryOptions, Transport } from "./types.ts";

/** One connection of the server. */
export interface AdminClient {
  /** Null while no client is registered on it. */
  readonly name: string | null;
  /** As the kernel says; null where it says nothing. */
  readonly user: string | null;
  readonly uid: number | null;
  /** Null on a Unix socket. */
  readonly address: string | null;
  readonly transport: Transport;
  /** Of the key that it has proved; null if none. */
  readonly fingerprint: string | null;
  /** When it connected. */
  readonly since: EpochMs;
  /** Number of the server's process that has it. */
  readonly worker: number;
}

export interface Ban {
  /** A uid in digits, or a key's fingerprint. */
  readonly target: string;
  readonly until: EpochMs;
  readonly by: string;
}

export class ServerAdministration implements AsyncDisposable {
  /** "HOST:PORT" */
  readonly server: string;
  readonly #connection: ServerConnection;
  readonly #closed: Promise<void>;

  private constructor(connection: ServerConnection) {
    this.#connection = connection;
    this.server = connection.server;
    this.#closed = new Promise((resolve) => connection.once("close", () => resolve()));
  }

  /** @throws TalkError unreachable, refused (certificate, banned), protocol; AbortError */
  static async connect(options: OpenDirectoryOptions): Promise<ServerAdministration> {
    return new ServerAdministration(await openConnection({ ...options, isAdmin: true }));
  }

  /** Whether this user is an administrator. @throws TalkError try-again, unreachable, protocol */
  async isAllowed(): Promise<boolean> {
    try {
      return (await this.#count("CHECK")) > 0;
    } catch (error) {
      if (error instanceof TalkError && error.code === "refused") return false;
      throw error;
    }
  }

  /** All connections but this one. @throws TalkError refused for a user who is no administrator, try-again, unreachable, protocol */
  async clients(): Promise<AdminClient[]> {
    return this.#maps(await this.#ask("CLIENTS")).map((fields) => ({
      name: textOrNull(fields.get("name")),
      user: textOrNull(fields.get("user")),
      uid: numberOrNull(fields.get("uid")),
      address: textOrNull(fields.get("address")),
      transport: transportOf(fields.get("transport")),
      fingerprint: textOrNull(fields.get("fingerprint")),
      since: numberOrNull(fields.get("since")) ?? 0,
      worker: numberOrNull(fields.get("worker")) ?? 0,
    }));
  }

  /** @throws as clients() */
  async bans(): Promise<Ban[]> {
    return this.#maps(await this.#ask("BANS")).map((fields) => ({
      target: textOrNull(fields.get("target")) ?? "",
      until: numberOrNull(fields.get("until")) ?? 0,
      by: textOrNull(fields.get("by")) ?? "",
    }));
  }

  /** Closes a client, which learns by whom. @returns false if no user of that name is on. @throws as clients() */
  async kick(name: string): Promise<boolean> {
    return (await this.#count("KICK", name)) > 0;
  }

  /** Closes the client of that name, if there is one, and forgets whose the name is. @returns false if it was free. @throws as clients() */
  async free(name: string): Promise<boolean> {
    return (await this.#count("FREE", name)) > 0;
  }

  /** @param target uid or fingerprint @returns how many connections were closed. @throws as clients(); too-many */
  ban(target: string, seconds: number): Promise<number> {
    return this.#count("BAN", target, Math.ceil(seconds));
  }

  /** @returns false if there was no such ban. @throws as clients() */
  async unban(target: string): Promise<boolean> {
    return (await this.#count("UNBAN", target)) > 0;
  }

  /** Tells the server to end. @returns how many connections hear of it; the promise `ended` is fulfilled when it has. @throws as clients() */
  async drain(): Promise<{ readonly told: number; readonly ended: Promise<void> }> {
    return { told: await this.#count("DRAIN"), ended: this.#closed };
  }

  async close(): Promise<void> {
    this.#connection.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #count(...args: (string | number)[]): Promise<number> {
    const reply = await this.#ask(...args);
    if (typeof reply !== "number") throw TalkError.protocol("ADMIN is not answered with a number");
    return reply;
  }

  async #ask(...args: (string | number)[]): Promise<RespValue> {
    try {
      return await this.#connection.ask("ADMIN", ...args);
    } catch (error) {
      const reply = error instanceof TalkError ? error.cause : null;
      if (!(reply instanceof ReplyError)) throw error;
      if (reply.code === "TRYAGAIN") throw new TalkError("try-again", reply.message, { cause: reply });
      if (reply.code === "TOOMANY") throw new TalkError("too-many", reply.message, { cause: reply });
      if (reply.code === "BADNAME") throw new TalkError("bad-name", reply.message, { cause: reply });
      throw error;
    }
  }

  #maps(reply: RespValue): Map<string, RespValue>[] {
    if (Array.isArray(reply) && reply.every((item) => item instanceof Map)) return reply as Map<string, RespValue>[];
    throw TalkError.protocol("ADMIN is not answered with a list");
  }
}

const textOrNull = (value: RespValue | undefined): string | null => (typeof value === "string" ? value : null);
const numberOrNull = (value: RespValue | undefined): number | null => (typeof value === "number" ? value : null);
const transportOf = (value: RespValue | undefined): Transport => (value === "unix" || value === "tls" ? value : "tcp");
