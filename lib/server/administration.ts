// What administrators do to a server that runs: see who is on, close a client, free a name, ban a user or key, drain. The primary
// checks the asker anew for each request, and reaches every worker: one user's connections may be at several.
import { join } from "node:path";
import type { AdminRequest } from "../wire/admin.ts";
import { type Ban, Bans, MAX_BANS, readBans, writeBans } from "./bans.ts";
import type { Log } from "./log.ts";
import type { AdminAnswer, ClientRow, Removal, ToWorker } from "./messages.ts";
import type { Account } from "./user-database.ts";

const ROOT = 0;
/** Ms between two looks at who the administrators are, for the connections that are kept for them. */
const RESERVE_LOOK_MS = 60_000;

export interface AdministrationParts {
  /** Logins of `--admins`. */
  readonly admins: readonly string[];
  /** The server's own user; null of a default server, which belongs to no user. */
  readonly owner: number | null;
  readonly find: (user: string | number, isAnew?: boolean) => Promise<Account>;
  /** Every connection of every worker. */
  readonly clients: () => Promise<readonly ClientRow[]>;
  /** @returns how many connections it has closed */
  readonly remove: (removal: Removal) => Promise<number>;
  readonly broadcast: (message: ToWorker) => void;
  /** @param except the connection that hears of the end by the end itself */
  readonly drain: (except: Asker) => void;
  /** Of the state directory; null: bans end with the server. */
  readonly folder: string | null;
  readonly log: Log;
}

/** The connection that asks. */
export interface Asker {
  readonly worker: number;
  readonly connection: number;
  /** As the kernel says; null where it does not, or where the uid identifies no user. */
  readonly uid: number | null;
}

export class Administration {
  readonly bans: Bans;
  readonly #parts: AdministrationParts;
  readonly #file: string | null;
  /** Uids of the administrators, as of the last look: for the connections kept for them, not for their rights. */
  #known: ReadonlySet<number> = new Set();
  #timer: NodeJS.Timeout | null = null;
  #requests = 0;
  #removed = 0;
  /** The last write of the file: two at once would share its temporary file. */
  #written: Promise<void> = Promise.resolve();

  constructor(parts: AdministrationParts) {
    this.#parts = parts;
    this.#file = parts.folder === null ? null : join(parts.folder, "server-bans");
    this.bans = new Bans(this.#file === null ? [] : readBans(this.#file, parts.log));
  }

  /** Learns for whom connections are kept. */
  start(): void {
    if (this.#parts.admins.length === 0) return;
    this.#timer = setInterval(() => void this.#look(), RESERVE_LOOK_MS).unref();
    void this.#look();
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
  }

  /** Connections are kept for this user. */
  hasReserve(uid: number | null): boolean {
    return uid !== null && (uid === ROOT || uid === this.#parts.owner || this.#known.has(uid));
  }

  /** Counters for INFO. */
  get stats(): Readonly<Record<string, number>> {
    return { admin_requests: this.#requests, removed: this.#removed, bans: this.bans.list.length };
  }

  /**
   * Whether that user is an administrator now. The user database is asked each time: an account may have gone.
   * @returns "unknown" while that cannot be told
   */
  async isAdmin(uid: number | null): Promise<boolean | "unknown"> {
    if (uid === null) return false;
    if (uid === ROOT || uid === this.#parts.owner) return true;
    let isUnknown = false;
    for (const login of this.#parts.admins) {
      const account = await this.#parts.find(login, true);
      if (account.is === "yes" && account.uid === uid) return true;
      if (account.is === "unknown") isUnknown = true;
    }
    return isUnknown ? "unknown" : false;
  }

  /** Never rejects. */
  async answer(asker: Asker, request: AdminRequest): Promise<AdminAnswer> {
    try {
      const refusal = await this.#refusalOf(asker.uid);
      if (refusal !== null) return { is: "refused", line: refusal };
      this.#requests++;
      return await this.#carryOut(asker, await this.#nameOf(asker.uid as number), request);
    } catch (error) {
      this.#parts.log.error("an administrator's request failed", { error });
      return { is: "refused", line: "TRYAGAIN it could not be carried out; the server's log says why" };
    }
  }

  async #refusalOf(uid: number | null): Promise<string | null> {
    if (uid === null) {
      return "NOPERM the kernel vouches for nobody on this connection: ask on the server's own host, over its Unix socket";
    }
    const isAdmin = await this.isAdmin(uid);
    if (isAdmin === true) return null;
    if (isAdmin === "unknown")
      return "TRYAGAIN who the administrators are cannot be told: the user database does not answer";
    const { owner } = this.#parts;
    const others = owner === null || owner === ROOT ? "" : `, ${await this.#nameOf(owner)}`;
    return `NOPERM only root${others} and the --admins of this server may, and you are ${await this.#nameOf(uid)}`;
  }

  async #carryOut({ worker, connection }: Asker, by: string, request: AdminRequest): Promise<AdminAnswer> {
    const { log } = this.#parts;
    switch (request.op) {
      case "check":
        return { is: "done", count: 1 };
      case "clients": {
        const rows = await this.#parts.clients();
        return {
          is: "clients",
          rows: await this.#named(rows.filter((row) => row.worker !== worker || row.connection !== connection)),
        };
      }
      case "bans":
        return { is: "bans", bans: this.bans.list };
      case "kick":
      case "free": {
        const count = await this.#remove({ name: request.name, by, until: null });
        log.warn(request.op === "kick" ? "client removed" : "name freed", { name: request.name, by, clients: count });
        return { is: "done", count };
      }
      case "ban":
        return this.#ban(by, request.target, request.seconds);
      case "unban": {
        const isThere = this.bans.remove(request.target);
        if (isThere) await this.#changed();
        log.warn("ban ended", { target: request.target, by });
        return { is: "done", count: isThere ? 1 : 0 };
      }
      case "drain": {
        const { length } = await this.#parts.clients();
        log.warn("draining", { by });
        this.#parts.drain({ worker, connection, uid: null });
        return { is: "done", count: Math.max(0, length - 1) };
      }
    }
  }

  async #ban(by: string, target: string, seconds: number): Promise<AdminAnswer> {
    const { owner, log } = this.#parts;
    if (target === String(ROOT) || target === String(owner)) {
      return { is: "refused", line: "NOPERM neither root nor the server's own user can be banned" };
    }
    const ban: Ban = { target, until: Date.now() + seconds * 1000, by };
    if (!this.bans.add(ban))
      return { is: "refused", line: `TOOMANY there are ${MAX_BANS} bans already: UNBAN one first` };
    await this.#changed();
    const count = await this.#remove({ target, by, until: ban.until });
    log.warn("banned", { target, until: new Date(ban.until).toISOString(), by, connections: count });
    return { is: "done", count };
  }

  async #remove(removal: Removal): Promise<number> {
    const count = await this.#parts.remove(removal);
    this.#removed += count;
    return count;
  }

  /** The workers hear of a ban before its connections are closed: none comes back in between. */
  async #changed(): Promise<void> {
    this.#parts.broadcast({ type: "bans", bans: this.bans.list });
    const file = this.#file;
    if (file === null) return;
    this.#written = this.#written
      .then(() => writeBans(file, this.bans.list))
      // A disk that takes nothing: the ban holds until the server ends.
      .catch((error) => this.#parts.log.warn("bans are not kept", { error }));
    await this.#written;
  }

  async #named(rows: readonly ClientRow[]): Promise<ClientRow[]> {
    const uids = new Set(rows.map(({ uid }) => uid).filter((uid) => uid !== null));
    const logins = new Map<number, string>();
    for (const uid of uids) {
      const account = await this.#parts.find(uid);
      if (account.is === "yes") logins.set(uid, account.login);
    }
    return rows.map((row) => ({ ...row, user: row.uid === null ? null : (logins.get(row.uid) ?? null) }));
  }

  async #nameOf(uid: number): Promise<string> {
    const account = await this.#parts.find(uid);
    return account.is === "yes" ? `${account.login} (uid ${uid})` : `uid ${uid}`;
  }

  async #look(): Promise<void> {
    const accounts = await Promise.all(this.#parts.admins.map((login) => this.#parts.find(login)));
    this.#known = new Set(accounts.flatMap((account) => (account.is === "yes" ? [account.uid] : [])));
  }
}
