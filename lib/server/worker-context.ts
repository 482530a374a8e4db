// What the commands of one worker work on: the directory, the connections, the counters.
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { ConcurrencyLimit } from "../base/async.ts";
import { TalkError } from "../base/errors.ts";
import { NONCE_BYTES } from "../crypto/signed-statements.ts";
import { type Claim, type Directory, type DirectoryRow, isElsewhere } from "../directory/directory.ts";
import { DirectoryError } from "../directory/directory-error.ts";
import type { NameRight } from "../directory/name-right.ts";
import { AccountSums } from "./account-sums.ts";
import { type Announcer, relayPush, replacedPush } from "./announcer.ts";
import { Bans } from "./bans.ts";
import type { Connection } from "./connection.ts";
import { type Limits, RELAY_UNSENT, UNKNOWN_RETRY_MS } from "./limits.ts";
import type { Log } from "./log.ts";
import { LongReplies } from "./long-replies.ts";
import type {
  AdminAnswer,
  AdminQuestion,
  Callee,
  MailboxAnswer,
  MailboxRequest,
  SendToPrimary,
  ToPrimary,
  WorkerConfig,
  WorkerLoad,
} from "./messages.ts";
import type { Entering, NameQuestion } from "./name-rights.ts";
import { boundKey, isLoopbackTcp, type Origin } from "./origin.ts";
import { RareLog } from "./rare-log.ts";
import { RelayMeter } from "./relay-meter.ts";

export interface WorkerContextParts {
  readonly config: WorkerConfig;
  readonly directory: Directory;
  readonly announcer: Announcer;
  readonly alls: ConcurrencyLimit;
  readonly log: Log;
  readonly send: SendToPrimary;
  /** Signs with the server's key. */
  readonly sign: (bytes: Buffer) => Buffer;
}

/** A registration that waits for the directory's answer. */
interface PendingRegistration {
  readonly claimId: string;
  /** Another one has replaced it before the answer came. */
  isReplaced: boolean;
}

/** Ms for which it counts who the other servers of the directory are. */
const SERVERS_MS = 1_000;
const NO_SERVERS: Promise<readonly (readonly (string | null)[])[]> = Promise.resolve([]);

/** The write may or may not have happened. */
export function isUnknownOutcome(error: unknown): boolean {
  return error instanceof DirectoryError && !error.isRefusal;
}

export class WorkerContext implements WorkerContextParts {
  readonly config: WorkerConfig;
  readonly directory: Directory;
  readonly announcer: Announcer;
  readonly alls: ConcurrencyLimit;
  readonly log: Log;
  readonly send: SendToPrimary;
  readonly sign: (bytes: Buffer) => Buffer;
  /** What strangers can cause. */
  readonly rareLog: RareLog;
  readonly longReplies: LongReplies;
  /** Of each user and address: rooms, and bytes that wait for it. */
  readonly rooms: AccountSums;
  readonly waiting: AccountSums;
  /** Null: no datagrams are passed on. */
  readonly relays: RelayMeter | null;
  readonly connections = new Map<number, Connection>();
  readonly refusals = new Map<string, number>();
  /** By connection. */
  readonly registering = new Map<number, PendingRegistration>();
  /** See WorkerConfig. */
  readonly isPrivate: boolean;
  readonly bans: Bans;
  isStopping = false;
  /** MUNGE credentials that are being read. */
  credentials = 0;
  /** The server is about to end: no client comes into the directory any more. */
  isDraining = false;
  // Counters for INFO.
  requests = 0;
  clients = 0;
  registrations = 0;
  takeovers = 0;
  unknownOutcomes = 0;
  relayed = 0;
  relayedBytes = 0;
  relayLost = 0;
  /** Those of the announcer aside. */
  pushes = 0;
  readonly #questions = new Map<number, (answer: never) => void>();
  #lastQuestion = 0;
  /** The last answer, and when it was asked for. */
  #servers: Promise<readonly (readonly (string | null)[])[]> = NO_SERVERS;
  #serversAt = Number.NEGATIVE_INFINITY;

  constructor(parts: WorkerContextParts) {
    this.config = parts.config;
    this.isPrivate = parts.config.isPrivate;
    this.bans = new Bans(parts.config.bans);
    this.directory = parts.directory;
    this.announcer = parts.announcer;
    this.alls = parts.alls;
    this.rooms = new AccountSums(parts.config.limits.roomsPerAccount);
    this.waiting = new AccountSums(parts.config.limits.unsentBytesPerAccount);
    this.longReplies = new LongReplies(parts.config.limits);
    this.relays = parts.config.relayRate === 0 ? null : this.#newMeter(parts);
    this.log = parts.log;
    this.rareLog = new RareLog(parts.log);
    this.send = parts.send;
    this.sign = parts.sign;
  }

  #newMeter({ config, send }: WorkerContextParts): RelayMeter {
    return new RelayMeter({
      bytesPerSecond: config.relayRate,
      workers: config.workers,
      onUse: (client, isUsing) => void send({ type: "relay-use", client, isUsing }),
    });
  }

  newNonce(): string {
    return randomBytes(NONCE_BYTES).toString("base64");
  }

  refused(reason: string): void {
    this.refusals.set(reason, (this.refusals.get(reason) ?? 0) + 1);
  }

  /** Notes that the connection's client has looked another one up. */
  noteLookup(connection: Connection): void {
    if (connection.client !== null) this.directory.lookedUp(connection.client.claim, Date.now());
  }

  /** Takes the connection's client out of the directory. Goes on until the outcome is known: nothing else removes the row. */
  async unregister(connection: Connection): Promise<void> {
    const { client } = connection;
    if (client === null) return;
    connection.client = null;
    this.clients--;
    this.clientGone(connection);
    this.rooms.add(connection.origin, -connection.rooms);
    connection.rooms = 0;
    const { claim } = client;
    if (await this.#removeForSure(claim)) this.log.info("left", { name: claim.name });
  }

  /** Takes out what a registration of unknown outcome has left, or leaves yet: no connection would do that. */
  async abandon(name: string, claimId: string): Promise<void> {
    await this.#removeForSure({ name, id: claimId, version: 0 });
  }

  /** Another registration has the name of this connection's client now: the client hears of it, and the connection ends. */
  endReplaced(connection: Connection, name: string): void {
    if (connection.protocol === 3) this.push(connection, replacedPush(name));
    connection.end();
  }

  push(connection: Connection, push: Buffer): void {
    this.pushes++;
    connection.push(push);
  }

  /** Whether that connection, which has only claimed a name, may still be there. */
  isHere(to: Callee): boolean {
    if (to.worker !== this.config.id) return this.directory.isLive(to);
    return this.connections.get(to.connection)?.claimed?.claimId === to.claimId;
  }

  /**
   * The place of a row's client. Null: off; the row of a worker that died waits for its client, which is not there. At another server it
   * is by its name.
   */
  calleeOf(row: DirectoryRow | null): Callee | null {
    if (row !== null && isElsewhere(row.place) && this.config.hasPeers) {
      const { server, name } = row.entry;
      return { ...row.place, claimId: row.claimId, elsewhere: { server, name } };
    }
    return row === null || !this.directory.isLive(row.place) ? null : { ...row.place, claimId: row.claimId };
  }

  /** Sends a datagram to the worker that its receiver is at. */
  passOn({ to, from, bytes }: { readonly to: Callee; readonly from: string; readonly bytes: Buffer }): void {
    this.relayed++;
    this.relayedBytes += bytes.length;
    // Workers of all servers are counted from 1: this number may be one there.
    if (to.elsewhere === undefined && to.worker === this.config.id) this.deliverRelayed(to, from, bytes);
    else void this.send({ type: "relay", to, from, bytes: bytes.toString("base64") });
  }

  /** A receiver that does not read loses datagrams, not its connection: anybody may send them. */
  deliverRelayed({ connection, claimId }: Callee, from: string, bytes: Uint8Array): void {
    const found = this.connections.get(connection);
    const isMeant = found?.client?.claim.id === claimId || found?.claimed?.claimId === claimId;
    if (found === undefined || !isMeant || found.protocol !== 3 || found.unsent > RELAY_UNSENT) this.relayLost++;
    else this.push(found, relayPush(from, bytes));
  }

  /** The whole server's INFO, put together by the primary. */
  askInfo(): Promise<string> {
    return this.#ask((id) => ({ type: "ask-info", id }));
  }

  /** The other servers of the directory, as the primary knows them: every client asks when it comes on, so an answer serves for a moment. */
  askServers(withLinks: boolean): Promise<readonly (readonly (string | null)[])[]> {
    if (this.config.serverName === "") return NO_SERVERS;
    if (withLinks) return this.#ask((id) => ({ type: "ask-servers", id, withLinks }));
    const now = performance.now();
    if (now - this.#serversAt > SERVERS_MS) {
      this.#serversAt = now;
      this.#servers = this.#ask((id) => ({ type: "ask-servers", id, withLinks }));
    }
    return this.#servers;
  }

  /** The primary's mailbox. */
  askMailbox(request: MailboxRequest): Promise<MailboxAnswer> {
    return this.#ask((id) => ({ type: "mailbox", id, request }));
  }

  /** The owner of the name by the accounts of the host, and the caller. Takes about two seconds at most. */
  async rightTo(name: string, uid: number | null, adds: Entering | null = null): Promise<NameRight> {
    const question = { name, uid, openNames: this.config.openNames, adds };
    const { right, isOver } = await this.#askRight(question);
    if (isOver && adds !== null) throw new DirectoryError("too-many", tooManyClients(adds.origin, this.config.limits));
    return right;
  }

  /** A client that rightTo() has let in has gone, or did not come to be on. */
  clientGone({ origin }: Connection): void {
    void this.send({ type: "client-gone", account: boundKey(origin) });
  }

  #askRight(question: NameQuestion): Promise<{ right: NameRight; isOver: boolean }> {
    return this.#ask((id) => ({ type: "ask-right", id, question }));
  }

  /** The login of a uid, null when it has none or that is unknown. */
  loginOf(uid: number): Promise<string | null> {
    return this.#ask((id) => ({ type: "ask-login", id, uid }));
  }

  /** What an administrator asks for. Takes seconds where a worker is busy. */
  askAdmin(question: AdminQuestion): Promise<AdminAnswer> {
    return this.#ask((id) => ({ type: "ask-admin", id, question }));
  }

  /** Whether that user is an administrator of this server now. */
  isAdmin(uid: number): Promise<boolean> {
    return this.#ask((id) => ({ type: "ask-is-admin", id, uid }));
  }

  /** The primary's answer to one of these. */
  answer(id: number, answer: unknown): void {
    this.#questions.get(id)?.(answer as never);
    this.#questions.delete(id);
  }

  #ask<T>(question: (id: number) => ToPrimary): Promise<T> {
    const id = ++this.#lastQuestion;
    return new Promise<T>((resolve) => {
      this.#questions.set(id, resolve);
      void this.send(question(id));
    });
  }

  load(loopDelayP99: number): WorkerLoad {
    return {
      id: this.config.id,
      pid: process.pid,
      connections: this.connections.size,
      clients: this.clients,
      requests: this.requests,
      registrations: this.registrations,
      takeovers: this.takeovers,
      unknownOutcomes: this.unknownOutcomes,
      relayed: this.relayed,
      relayedBytes: this.relayedBytes,
      relayLost: this.relayLost,
      ...this.announcer.stats,
      pushes: this.pushes + this.announcer.stats.pushes,
      loopDelayP99,
      memory: process.memoryUsage.rss(),
      refusals: Object.fromEntries(this.refusals),
    };
  }

  /** @returns whether there was such a row. Never rejects */
  async #removeForSure(claim: Claim): Promise<boolean> {
    for (;;) {
      try {
        return await this.directory.remove(claim);
      } catch (error) {
        if (this.isStopping || (error instanceof TalkError && error.code === "closed")) return false; // rows go with it
        this.log.warn("a client could not be taken out", { name: claim.name, error });
        if (!isUnknownOutcome(error)) return false;
        this.unknownOutcomes++;
      }
      await sleep(UNKNOWN_RETRY_MS, undefined, { ref: false });
    }
  }
}

/** Whose bound it is, how high, and what to do. */
function tooManyClients(origin: Origin, { clientsPerUid, clientsOverLoopback }: Limits): string {
  if (isLoopbackTcp(origin)) {
    return `${clientsOverLoopback} clients are on over TCP of this host, and no more may: connect over a Unix socket, or end one`;
  }
  const who = origin.address === null ? "your user" : `the address ${origin.address}`;
  return `${who} has ${clientsPerUid} clients on, and may have no more: end one first`;
}
