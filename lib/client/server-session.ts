// A client's standing with the lookup server: its name is its own for as long as it lives, whatever happens to the
// connection. Owns the connection, the claim to the name, and the way back. Knows nothing of messages.
//
//  1. open() connects and greets.
//  2. register() or claim() makes the name count on this connection, and says how to do so on the next one.
//  3. What the server pushes becomes "seen", "peer" and "server" events.
//  4. When addresses of this host change, the row changes with them: on the same connection, if that lives on.
//  5. A lost connection is replaced, with backoff and jitter, and the name is taken up again by the claim id that it had: at the same
//     server, or at the next of the list that answers. There the client stays, though an earlier one of the list be back. Behind the
//     list are the other servers of the directory, as far as a server has told of them.
//  6. A name that another program has taken over, or a refusal that no retry mends, ends the session: "gone".
import { EventEmitter } from "node:events";
import { userInfo } from "node:os";
import { debuglog } from "node:util";
import { abortable, backoffMs, sleep, withTimeout } from "../base/async.ts";
import {
  areSameEndpoints,
  type ClientEndpoint,
  type Endpoint,
  endpointProblem,
  MAX_ENDPOINTS,
  withoutZone,
} from "../base/endpoint.ts";
import { TalkError } from "../base/errors.ts";
import { formatServerAddress, isLoopback, type ServerAddress } from "../base/server-address.ts";
import { SERVICE_SOCKET } from "../base/service.ts";
import type { Identity } from "../crypto/identity.ts";
import { claimIdOf, mungePayload } from "../crypto/signed-statements.ts";
import { isKeptId } from "../directory/directory-id.ts";
import type { DirectoryEntry, NameOwner, PresenceState } from "../directory/entry.ts";
import { findLiveServer } from "../directory/live-server.ts";
import { ownAddresses, watchOwnAddresses } from "../net/own-addresses.ts";
import type { PinScope } from "../store/known-directories.ts";
import { ReplyError, type RespValue } from "../wire/resp-reply.ts";
import {
  allEntries,
  clientCount,
  entryFrom,
  lookupEntry,
  namesThatBegin,
  ownerOf,
  roomMembers,
} from "./directory-reader.ts";
import { ownEndpoints } from "./endpoints.ts";
import {
  cannotTell,
  claimRequest,
  isPassing,
  isUnknown,
  registrationError,
  registrationRequest,
  type SignedCommand,
} from "./register-request.ts";
import { returnDelayMs } from "./return-delay.ts";
import type { RoomPush } from "./rooms.ts";
import { type GreetedConnection, ServerConnection, type ServerGreeting } from "./server-connection.ts";
import {
  inTime,
  isOfOneServer,
  isOtherServer,
  type ListedServer,
  type Teller,
  type ToldServer,
  toldServersIn,
  withFirst,
} from "./server-list.ts";
import type { PeerEvent, ServerEvent, ServerStats, Standing } from "./types.ts";
import type { AdminHolder } from "./wall.ts";

const debug = debuglog("ptalk-client");

/** The answer to a REGISTER or CLAIM whose MUNGE credential counts. */
const OK_BY_MUNGE = "OK munge";
const RECONNECT = { firstMs: 100, maxMs: 5_000 };
/** To a server of this host, which may be stormed without harm. */
const LOCAL_RECONNECT = { firstMs: 100, maxMs: 1_000 };
/**
 * Milliseconds after the start of a server in which clients of the one before it may still be on their way back: the longest
 * pause between two attempts, and as much again for a server that a thousand clients return to at once.
 */
export const SETTLING_MS = 2 * RECONNECT.maxMs;
/** Connections that may break off under a first registration; of the last one the error counts. */
const MAX_FIRST_ENTRIES = 5;
/** Registrations of which one may have been carried out; one is added by each connection that breaks off before the answer. */
const MAX_CLAIM_IDS = 8;
/** Names that are watched because this client deals with them: a server takes 1,024 with rooms and those that are waited for. */
const MAX_DEALT_WITH = 512;
/** Milliseconds between the questions that find out that a silent server is gone (a reply has 10 s), and how many are on. */
export const PING_EVERY_MS = 10_000;
/** Questions after which the server is asked which others there are: they come and go seldom. */
const PINGS_BETWEEN_SERVERS = 6;
/** Keys of other servers that are remembered while the program runs. */
const MAX_TOLD_KEYS = 64;
/** Milliseconds that leaving waits for the server to know it; the end of the connection tells it anyway. */
const LEAVE_LIMIT_MS = 1_000;

export interface ServerSessionOptions {
  readonly name: string;
  /** In the order in which they are tried; one at least. */
  readonly servers: readonly ListedServer[];
  /** Makes servers of what one says of others; without it none of them is used. */
  readonly accept?: ((told: readonly ToldServer[], teller: Teller) => ListedServer[]) | undefined;
  readonly identity: Identity;
  readonly insecure: boolean;
  /** See DialOptions. */
  readonly ca?: string | undefined;
  /** Shown in lists; default: true. */
  readonly listed?: boolean | undefined;
  /** Datagrams may go over the server; default: true. */
  readonly relay?: boolean | undefined;
  /** How the identity follows those before it, see crypto/rotation.ts; empty when it follows none. */
  readonly chain: string;
  /** Aborts opening and entering; afterwards it has no effect. */
  readonly signal?: AbortSignal | undefined;
  /** Called when no server answers any more: starts it again, where that is this client's task. */
  readonly revive?: ((signal: AbortSignal) => Promise<void>) | undefined;
}

interface SessionEvents {
  server: [event: ServerEvent];
  /** A client came, with this status, or left. */
  peer: [event: PeerEvent, status?: DirectoryEntry["status"]];
  /** A client has another status, or other fields. Comes before "seen". */
  changed: [entry: DirectoryEntry];
  /** The server has told where a client is, asked or unasked: it joined, or is about to talk to us. Comes before "peer". */
  seen: [entry: DirectoryEntry];
  /** The server has messages for this client. */
  mail: [];
  /** Somebody is about to send datagrams from one of these endpoints. */
  called: [key: Buffer, from: readonly Endpoint[]];
  /** This host's addresses have changed, or how the server sees them. */
  moved: [];
  /** The server has passed a datagram on. `place`: where answers go. */
  relayed: [place: string, datagram: Buffer];
  /** No client is at that place behind the relay. */
  notHere: [place: string];
  /** Somebody is in a room that this client is in, with this entry, or is not (any more). */
  room: [push: RoomPush];
  /** The program at the server's address is not trusted: said once, while its words stay the same. */
  refused: [error: TalkError];
  /** The name is lost for good. */
  gone: [error: Error];
}

export class ServerSession extends EventEmitter<SessionEvents> {
  readonly #options: ServerSessionOptions;
  #connection: ServerConnection;
  /** Those that were named, then those that a server has told of. */
  #servers: readonly ListedServer[];
  /** Of the server that the connection is with, in the list. */
  #at: number;
  /** Of all servers that were told of: what they sign counts as the directory's word. */
  readonly #toldKeys = new Set<string>();
  /** What the server says of the others, once it has. */
  #telling: Promise<void> = Promise.resolve();
  #pings = 0;
  /** That server has said that it ends. */
  #isEnding = false;
  #greeting: ServerGreeting;
  #serverStartedAt: number;
  #scope: PinScope;
  /** The last registration's. */
  #endpoints: readonly ClientEndpoint[] = [];
  #addressWatch: Disposable | undefined;
  /** Changes of the row, one after the other. */
  #renewal: Promise<void> = Promise.resolve();
  /** Makes the name count on a fresh connection. */
  #enter: () => Promise<void> = async () => {};
  /** Claim ids of which one names our row, if there is one: of the last registration, then of later ones without an answer. */
  #claimIds: readonly string[] = [];
  #isRegistered = false;
  /** UDP port of the chat socket, and the one that the last registration has named. */
  #port = 0;
  #registeredPort = 0;
  /** The server has taken our MUNGE credential. */
  #isByMunge = false;
  /** Folded names of the rooms that this client is in. */
  readonly #rooms = new Set<string>();
  /** Rooms that the server has not confirmed this client to be in, or not to be in: said again until it does. */
  readonly #unsettled = new Set<string>();
  /** Names that are watched in addition to everybody, or by a client that is not registered. */
  readonly #watched = new Set<string>();
  /** Folded names that this client writes to or hears from, the latest at the end. */
  readonly #dealtWith = new Set<string>();
  /** The server announces every listed client. */
  #hearsAll = true;
  /** The status that this client sent last; undefined: none yet. */
  #status: { readonly state: PresenceState; readonly text: string } | undefined;
  /** The server knows the TOUCH request. */
  #takesTouch = true;
  /** Clients that the server has, as it said last. */
  #clients = 0;
  #isClosing = false;
  #ended: Error | undefined;
  #reconnects = 0;
  /** Those that were reported since a server was there. */
  readonly #refusals = new Set<string>();
  readonly #stop = new AbortController();
  /** Callers of whenConnected(). */
  readonly #waiting = new Set<() => void>();
  #ping: NodeJS.Timeout | undefined;

  private constructor(options: ServerSessionOptions, { connection, greeting, at, scope }: Reached) {
    super();
    this.#options = options;
    this.#servers = options.servers;
    this.#connection = connection;
    this.#at = at;
    this.#greeting = greeting;
    this.#scope = scope;
    this.#serverStartedAt = performance.now() - greeting.uptimeMs;
  }

  /** Connects and greets; register() or claim() makes it count. @throws TalkError unreachable, refused, protocol; AbortError */
  static async open(options: ServerSessionOptions): Promise<ServerSession> {
    const { servers } = options;
    return new ServerSession(options, await withFirst(servers, (at) => reach(options, servers, at)));
  }

  /** "HOST:PORT" of the server that this client is at, or was last. */
  get server(): string {
    return this.#connection.server;
  }

  /** Where names of the server's directory are remembered. */
  get scope(): PinScope {
    return this.#scope;
  }

  /** This machine's address on the way to the server. */
  get localAddress(): string {
    return this.#connection.localAddress;
  }

  /** The server is on this host. */
  get isBesideServer(): boolean {
    return isLoopback(this.localAddress) && !this.#greeting.isForwarded;
  }

  /** Datagrams may go over the server, as both sides want it. */
  get canRelay(): boolean {
    return this.#greeting.relays && this.#options.relay !== false;
  }

  /** Sees this client's chat socket from elsewhere, and knows it by the token; null where no server does. */
  get observer(): { readonly endpoint: Endpoint; readonly token: Buffer } | null {
    const { serverEndpoint } = this.#connection;
    const { token } = this.#greeting;
    return serverEndpoint === null || token === null || !this.isConnected ? null : { endpoint: serverEndpoint, token };
  }

  get ownAddresses(): readonly string[] {
    return ownAddresses();
  }

  /**
   * Asks a client, by the server, to open the way for our datagrams. No answer is waited for.
   * @param from where they come from
   */
  call(name: string, from: readonly ClientEndpoint[]): void {
    if (!this.isConnected) return;
    // Of a registered client the server knows it.
    const endpoints = this.#isRegistered ? [] : from.slice(0, MAX_ENDPOINTS);
    const words = endpoints.flatMap(({ kind, address, port }) => ["ENDPOINT", kind, address, port]);
    this.#connection.command("CALL", name, ...words).catch(() => {});
  }

  /** Where the directory has this client; empty for one that is not registered. */
  get endpoints(): readonly ClientEndpoint[] {
    return this.#isRegistered ? this.#endpoints : [];
  }

  /** Passes a datagram on to a place behind the relay, or loses it. */
  relay(place: string, datagram: Uint8Array): void {
    if (this.canRelay && this.isConnected) this.#connection.relay(place, datagram);
  }

  /** All clients of this server are on this host. */
  get isOfHost(): boolean {
    return this.isBesideServer && !this.#greeting.isForNetwork;
  }

  /** The address that the directory shows of us first. */
  get address(): string {
    return this.#endpoints[0]?.address ?? this.localAddress;
  }

  /** How this client and its server stand to each other, on the present connection. */
  get standing(): Standing {
    const { serverUid, serverUser, peerUid } = this.#greeting;
    const { transport } = this.#connection;
    const uid = this.#isByMunge ? (process.geteuid?.() ?? null) : peerUid;
    const attested = uid === null ? null : this.#isByMunge ? "munge" : "kernel";
    return { transport, serverUid, serverUser, user: uid === null ? null : ownLogin(), uid, attested };
  }

  /** The server's own key, base64: it has signed the greeting with it. */
  get serverKey(): string {
    return this.#greeting.statement.serverKey;
  }

  /** The kernel that this client runs on is the server's too. */
  get isOnThisHost(): boolean {
    return this.#connection.transport === "unix";
  }

  /** The server is the host's service, or root runs it: the kernel says so. Its word about its administrators counts. */
  get isAtRootsServer(): boolean {
    const { path } = this.#connection;
    if (path === null || path === SERVICE_SOCKET) return path !== null;
    // Root of a container that shares the network listens under uid 0 too; its objects are not in this host's /dev/shm.
    return this.#greeting.serverUid === 0 && findLiveServer(serverAt(this.#servers, this.#at).address)?.uid === 0;
  }

  /** The holder of a name, if that is an administrator of the server; null also where the server does not say. Never rejects. */
  async adminOf(name: string): Promise<AdminHolder | null> {
    const reply = await this.#connection.command("OWNER", name, "ADMIN").catch(() => null);
    if (!(reply instanceof Map) || reply.get("admin") !== 1) return null;
    const [key, uid] = [reply.get("key"), reply.get("uid")];
    return typeof key === "string" && typeof uid === "number" ? { key, uid } : null;
  }

  get isConnected(): boolean {
    return !this.#connection.closed;
  }

  /** When the server that we are connected to started, in monotonic milliseconds. */
  get serverStartedAt(): number {
    return this.#serverStartedAt;
  }

  /** Milliseconds for which clients of the server before this one may still be on their way back; 0 when it has settled. */
  get settlingMs(): number {
    return Math.max(0, SETTLING_MS - (performance.now() - this.#serverStartedAt));
  }

  /**
   * Puts this client into the directory and keeps it there.
   * @param port UDP port of the chat socket
   * @param replace take the name over, this once, from another client of the same key
   * @throws TalkError name-taken, full, bad-name, refused, unreachable; the signal's reason
   */
  async register(port: number, replace = false): Promise<void> {
    let takesOver = replace;
    this.#port = port;
    await this.#begin(async () => {
      await this.#register(takesOver);
      takesOver = false; // a program that takes the name later keeps it
    });
    if (this.#isClosing) return;
    this.#addressWatch = watchOwnAddresses(() => this.#onAddressesChanged());
  }

  /** The chat socket has another port now. Resolves when the row says so, or the next registration will. */
  changePort(port: number): Promise<void> {
    this.#port = port;
    this.#renewal = this.#renewal.then(() => this.#renew());
    return this.#renewal;
  }

  /**
   * Speaks under the name without being in the directory: no other client hears of it.
   * @param also a further key (base64) that is to have the name
   * @throws as register()
   */
  claim(also: string | null = null): Promise<void> {
    const { name, identity } = this.#options;
    return this.#begin(() => this.#prove(claimRequest({ name, identity, also, statement: this.#greeting.statement })));
  }

  /** @throws TalkError unreachable while there is no connection; protocol */
  async lookup(name: string): Promise<DirectoryEntry | null> {
    const entry = await lookupEntry(this.#connection, name);
    if (entry) this.emit("seen", entry);
    return entry;
  }

  /** The owner of a name. @throws as lookup() */
  ownerOf(name: string): Promise<NameOwner | null> {
    return ownerOf(this.#connection, name);
  }

  all(): Promise<DirectoryEntry[]> {
    return allEntries(this.#connection);
  }

  /** The server announces everybody who comes and goes. */
  get hearsAll(): boolean {
    return this.#hearsAll;
  }

  names(prefix: string): Promise<string[]> {
    return namesThatBegin(this.#connection, prefix);
  }

  async count(): Promise<number> {
    this.#clients = await clientCount(this.#connection);
    return this.#clients;
  }

  /** The members of a room. @throws TalkError unreachable while there is no connection; protocol */
  async members(room: string): Promise<DirectoryEntry[]> {
    const entries = await roomMembers(this.#connection, room);
    for (const entry of entries) this.emit("seen", entry);
    return entries;
  }

  /**
   * Puts this client into a room, now and whenever it reconnects; "room" events announce changes.
   * @returns the members
   */
  async enterRoom(room: string): Promise<DirectoryEntry[]> {
    if (!this.#isRegistered) throw TalkError.usage("only a client that is on can be in rooms");
    this.#unsettled.delete(room);
    try {
      await this.#enterRoom(room);
      const members = await this.members(room);
      this.#rooms.add(room);
      return members;
    } catch (error) {
      // Without an answer the row may have it all the same.
      if (!isRefusal(error)) this.#unsettled.add(room);
      if (error instanceof ReplyError && error.code === "TOOMANY") {
        throw new TalkError("too-many", `the server refuses ${room}: ${error.message}`, { cause: error });
      }
      if (error instanceof ReplyError && error.code === "TRYAGAIN") throw cannotTell(error);
      if (error instanceof ReplyError) throw TalkError.protocol(`JOIN is answered with "${error.message}"`, error);
      throw error;
    }
  }

  /** The server hears of it now, or later: when it can change the row again, or on the next connection. @throws TalkError unreachable, try-again */
  async leaveRoom(room: string): Promise<void> {
    this.#rooms.delete(room);
    this.#unsettled.add(room);
    if (this.isConnected) await this.#settleRoom(room);
  }

  /** Says whether this client is in a room. What the server cannot tell stays unsettled. */
  async #settleRoom(room: string): Promise<void> {
    const isIn = this.#rooms.has(room);
    this.#unsettled.add(room);
    try {
      if (isIn) await this.#enterRoom(room);
      else await Promise.all([this.#connection.ask("UNWATCH", room), this.#connection.ask("PART", room)]);
    } catch (error) {
      if (isRefusal(error)) this.#unsettled.delete(room);
      throw error;
    }
    if (isIn === this.#rooms.has(room)) this.#unsettled.delete(room);
  }

  async #enterRoom(room: string): Promise<void> {
    // WATCH goes before JOIN, so that no member comes unseen in between.
    await Promise.all([this.#connection.command("WATCH", room), this.#connection.command("JOIN", room)]);
  }

  /** Says whether somebody looks at this client, on this connection and on later ones. @throws TalkError unreachable, bad-data, protocol */
  async setStatus(state: PresenceState, text: string): Promise<void> {
    this.#status = { state, text };
    if (!this.isConnected) return; // told when it is back
    await this.#connection.command("STATUS", state, text);
  }

  /** Tells the server that this client has looked somebody up without asking it. Waits for nothing; a failure is passed over. */
  touch(): void {
    if (!this.#isRegistered || !this.#takesTouch || !this.isConnected) return;
    this.#connection.command("TOUCH").catch((error: unknown) => {
      if (error instanceof ReplyError) this.#takesTouch = false; // a server of an older version
    });
  }

  /** One request, as it is. @throws TalkError unreachable; ReplyError: the server's refusal */
  request(...args: (string | number)[]): Promise<RespValue> {
    return this.#connection.command(...args);
  }

  /** Watches a name, now and on each later connection: "seen" and "peer" tell of it. @throws TalkError protocol, closed */
  async watch(name: string): Promise<void> {
    this.#watched.add(name);
    if (this.isConnected) await this.#connection.ask("WATCH", name).catch((error: unknown) => this.#passOver(error));
  }

  unwatch(name: string): void {
    this.#watched.delete(name);
    if (this.isConnected && !this.#isTold(name)) this.#forget(name);
  }

  /**
   * This client deals with that one: the server sends its events, also while too many are on to watch everybody. The
   * one that it dealt with longest ago makes room.
   */
  dealsWith(name: string): void {
    const isNew = !this.#dealtWith.delete(name); // to the end
    this.#dealtWith.add(name);
    if (!isNew) return;
    const [oldest = ""] = this.#dealtWith;
    const isOver = this.#dealtWith.size > MAX_DEALT_WITH && this.#dealtWith.delete(oldest);
    if (this.#hearsAll || !this.#isRegistered || !this.isConnected) return; // asked for when that ends
    this.#connection.command("WATCH", name).catch(() => {});
    if (isOver && !this.#watched.has(oldest)) this.#forget(oldest);
  }

  /** UNWATCH would end it, though somebody still wants to know of the name. */
  #isTold(name: string): boolean {
    return !this.#hearsAll && this.#dealtWith.has(name);
  }

  #forget(name: string): void {
    this.#connection.command("UNWATCH", name).catch(() => {});
  }

  /** Everybody, while few are on; else those that this client deals with. */
  async #watchAll(): Promise<void> {
    try {
      await this.#connection.command("WATCH");
      this.#hearsAll = true;
    } catch (error) {
      if (!(error instanceof ReplyError)) throw error;
      if (error.code === "NOPERM") throw TalkError.refused(error.message, error);
      if (error.code !== "TOOMANY") throw TalkError.protocol(`WATCH is answered with "${error.message}"`, error);
      await this.#watchDealtWith();
    }
  }

  async #watchDealtWith(): Promise<void> {
    this.#hearsAll = false;
    if (this.#dealtWith.size > 0) await this.#connection.ask("WATCH", ...this.#dealtWith);
  }

  /** A connection that breaks off is replaced, and the name watched on the next one. */
  #passOver(error: unknown): void {
    if (!this.isConnected) return;
    throw error;
  }

  /** Waits until the server answers again. @throws TalkError closed or whatever ended the session; the signal's reason */
  async whenConnected(signal: AbortSignal): Promise<void> {
    while (!this.isConnected) {
      if (this.#ended) throw this.#ended;
      let wake = (): void => {};
      const woken = new Promise<void>((resolve) => {
        wake = resolve;
      });
      this.#waiting.add(wake);
      try {
        await abortable(woken, signal);
      } finally {
        this.#waiting.delete(wake);
      }
    }
  }

  stats(): ServerStats {
    const { roundTripMs } = this.#connection;
    return { isConnected: this.isConnected, reconnects: this.#reconnects, roundTripMs };
  }

  /** Leaves the directory; resolves when the server knows or cannot be told. */
  async close(): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#ended ??= TalkError.closed("the session");
    clearInterval(this.#ping);
    this.#addressWatch?.[Symbol.dispose]();
    if (this.isConnected && this.#isRegistered) {
      const left = this.#connection.command("UNREGISTER").catch(() => {});
      await withTimeout(LEAVE_LIMIT_MS, left, undefined);
    }
    this.#end(this.#ended);
  }

  #end(reason: Error): void {
    this.#stop.abort(reason);
    this.#connection.close();
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  async #begin(enter: () => Promise<void>): Promise<void> {
    this.#enter = enter;
    for (let attempt = 1; ; attempt++) {
      this.#listen();
      try {
        await abortable(enter(), this.#options.signal);
        break;
      } catch (error) {
        // A worker process of the server has died under the request: the server goes on with another one.
        const isBrokenOff = this.#connection.closed && isUnknown(error);
        const servers = this.#servers;
        const mayElsewhere = servers.length > 1 && isOfOneServer(error);
        if (!(isBrokenOff || mayElsewhere) || attempt === Math.max(MAX_FIRST_ENTRIES, servers.length)) throw error;
        this.#connection.close();
        if (!isBrokenOff) this.#at = this.#next;
      }
      await sleep(backoffMs(attempt - 1, RECONNECT), this.#options.signal);
      const order = this.#order(this.#at);
      this.#adopt(
        await withFirst(
          order.map((at) => serverAt(this.#servers, at)),
          (index) => reach(this.#options, this.#servers, order[index] as number),
        ),
      );
    }
    this.#watchOver();
  }

  /** An answer that was lost leaves it open which request the directory has carried out: the row may be of any of them. */
  async #register(replace: boolean): Promise<void> {
    const watching = this.#watchAll();
    watching.catch(() => {}); // awaited below, unless the registration fails first
    const takeovers = this.#claimIds.length === 0 ? [null] : this.#claimIds.toReversed();
    for (const [index, takeover] of takeovers.entries()) {
      try {
        await this.#registerOnce(takeover, replace);
        break;
      } catch (error) {
        const isTaken = error instanceof TalkError && error.code === "name-taken";
        if (!isTaken || index === takeovers.length - 1) throw error;
        this.#greeting = await this.#connection.hello(); // the nonce is used up
      }
    }
    // A private server answers registered clients only. A lookup finds a client that came in between.
    await watching.catch((error: unknown) => {
      if (!(error instanceof TalkError) || error.code !== "refused") throw error;
      return this.#watchAll();
    });
    this.#isRegistered = true;
    // After a restart of the server; else it is in them still, and in those that it left without the server's knowing.
    const rooms = new Set([...this.#rooms, ...this.#unsettled]);
    await Promise.all([...rooms].map((room) => this.#settleRoom(room).catch(passOverReply)));
    // A server that was started anew does not know it. One without statuses is no reason to go.
    const { state, text } = this.#status ?? {};
    if (state !== undefined) this.#connection.command("STATUS", state, text ?? "").catch(() => {});
  }

  async #registerOnce(takeover: string | null, replace: boolean): Promise<void> {
    const port = this.#port;
    const { name, identity, listed = true } = this.#options;
    const { statement } = this.#greeting;
    const endpoints = this.#endpointsNow();
    const claimId = claimIdOf(statement.serverNonce);
    const before = this.#claimIds;
    this.#claimIds = [...before, claimId].slice(-MAX_CLAIM_IDS);
    try {
      const fields = { name, identity, statement, port, endpoints, takeover, replace, listed };
      await this.#prove(registrationRequest(fields));
      this.#claimIds = [claimId];
      this.#endpoints = endpoints;
      this.#registeredPort = port;
    } catch (error) {
      if (!isUnknown(error)) this.#claimIds = before;
      throw error;
    }
  }

  /** Where others reach the chat socket, as things are. */
  #endpointsNow(): ClientEndpoint[] {
    const port = this.#port;
    if (this.isOfHost) return []; // the server sees loopback, and so does everybody else
    // A server that sees the chat socket itself says more than the guess that a NAT keeps its port.
    const seen = this.#greeting.token === null ? this.#greeting.seen : null;
    return ownEndpoints({ port, local: this.localAddress, seen, own: ownAddresses() });
  }

  #onAddressesChanged(): void {
    this.emit("moved");
    if (this.#isClosing || this.isOfHost || !this.isConnected) return; // a reconnect registers the address of that time
    const local = withoutZone(this.localAddress);
    if (!this.isBesideServer && !ownAddresses().includes(local)) {
      debug("this host has lost %s: the connection with the server is dead", local);
      this.#connection.abandon(`this host no longer has the address ${local}`);
      return;
    }
    this.#renewal = this.#renewal.then(() => this.#renew());
  }

  /** The row follows this host's addresses and the socket's port. Senders learn the new address from the push that this causes. */
  async #renew(): Promise<void> {
    if (this.#isClosing || !this.isConnected || !this.#isRegistered) return;
    if (this.#registeredPort === this.#port && areSameEndpoints(this.#endpoints, this.#endpointsNow())) return;
    try {
      this.#greeting = await this.#connection.hello();
      await this.#registerOnce(this.#claimIds.at(-1) ?? null, false);
    } catch (error) {
      // A connection that breaks off is replaced; a server that refuses keeps the row as it was.
      debug("the row keeps its addresses: %s", error instanceof Error ? error.message : error);
    }
  }

  async #prove({ words, signed }: SignedCommand): Promise<void> {
    const credential = await this.#credential(signed);
    const { chain, identity: own } = this.#options;
    const key = own.publicKey.toString("base64");
    // Leaves in one piece with the request. A server of an older version does not know it.
    if (chain !== "") this.#connection.command("FOLLOWS", key, chain).catch(() => {});
    try {
      const option = credential === null ? [] : ["MUNGE", credential];
      this.#isByMunge = (await this.#connection.command(...words, ...option)) === OK_BY_MUNGE;
    } catch (error) {
      const { name, identity } = this.#options;
      throw registrationError(error, name, identity.fingerprint);
    }
  }

  /** A MUNGE credential for this request, where the server takes one and it is to be had here. */
  async #credential(signed: Buffer): Promise<string | null> {
    const { mungeReader } = this.#greeting;
    const login = mungeReader === null ? null : ownLogin();
    if (mungeReader === null || login === null) return null;
    const { encodeMunge, hasMunge } = await import("../net/munge.ts");
    return hasMunge() ? await encodeMunge(mungePayload(signed, login), mungeReader) : null;
  }

  /** Before the first request on a connection: pushes come right behind an answer. */
  #listen(): void {
    this.#connection.on("push", (values) => this.#onPush(values));
    this.#connection.on("notHere", (place) => this.emit("notHere", place));
  }

  #watchOver(): void {
    const connection = this.#connection;
    connection.once("close", () => this.#onLost());
    this.#isEnding = false;
    if (connection.closed) this.#onLost();
    clearInterval(this.#ping);
    this.#ping = setInterval(() => this.#onPing(), PING_EVERY_MS).unref();
    this.#askCount();
    this.#telling = this.#askServers();
  }

  /** Any answer says that the server is there. This one says among how many this client comes back, too. */
  #askCount(): void {
    this.count().catch(() => {});
  }

  #onPing(): void {
    this.#askCount();
    for (const room of this.#unsettled) this.#settleRoom(room).catch(() => {}); // again with the next one
    if (++this.#pings % PINGS_BETWEEN_SERVERS === 0) this.#telling = this.#askServers();
  }

  /**
   * Learns of the other servers of the directory. Only what comes over a connection counts that nobody in between can change. Never rejects:
   * the servers that are known go on to do.
   */
  async #askServers(): Promise<void> {
    const { accept, servers: named } = this.#options;
    const [connection, at] = [this.#connection, serverAt(this.#servers, this.#at)];
    const { address } = at;
    const isSafe = this.#greeting.isDirect && (connection.transport !== "tcp" || isLoopback(address.host));
    if (accept === undefined || !isSafe || !isKeptId(this.#greeting.directory)) return;
    try {
      const { directory } = this.#greeting;
      const told = toldServersIn(await connection.command("SERVERS"));
      if (connection !== this.#connection) return;
      for (const { key } of told) if (this.#toldKeys.size < MAX_TOLD_KEYS) this.#toldKeys.add(key);
      const isNew = (server: ListedServer): boolean =>
        ![...named, at].some((known) => isSameServer(known.address, server.address));
      const others = accept(told, { address, directory }).filter(isNew);
      this.#servers = named.includes(at) ? [...named, ...others] : [...named, at, ...others];
      this.#at = this.#servers.indexOf(at);
    } catch (error) {
      debug("the other servers of the directory: %s", error instanceof Error ? error.message : error);
    }
  }

  /** Whether it is the key of a server of this directory: that of the present one, or of one that was told of. */
  async isServerKey(key: string): Promise<boolean> {
    if (key === this.serverKey) return true;
    await this.#telling;
    return this.#toldKeys.has(key);
  }

  #onPush(values: RespValue[]): void {
    const [kind, name, client] = values;
    if (kind === "room") {
      this.#onRoomPush(values);
      return;
    }
    if (kind === "knock") {
      const [, key, ...words] = values;
      if (typeof key === "string") this.emit("called", Buffer.from(key, "base64"), endpointsIn(words));
      return;
    }
    if (kind === "relay") {
      const [, place, datagram] = values;
      const isWanted = this.#options.relay !== false;
      if (isWanted && typeof place === "string" && Buffer.isBuffer(datagram)) this.emit("relayed", place, datagram);
      return;
    }
    // The server asks a silent client whether it is there: any request is the answer.
    if (kind === "probe") this.#connection.command("PING").catch(() => {});
    else if (kind === "replaced") this.#giveUp(TalkError.replaced(this.#options.name));
    else if (kind === "removed") this.#giveUp(removedBy(values, this.#connection.server));
    else if (kind === "unwatched")
      this.#watchDealtWith().catch(() => {}); // a connection that breaks off begins anew
    else if (kind === "mail") this.emit("mail");
    else if (kind === "closing") {
      this.#isEnding = true;
      this.#tellOfServer("closing");
    } else if (name === this.#options.name) return;
    else if (kind === "left" && typeof name === "string") this.emit("peer", { name, state: "left" });
    else if ((kind === "joined" || kind === "changed" || kind === "call") && client !== undefined) {
      const entry = entryFrom(client);
      if (entry === null) return;
      if (kind === "changed") this.emit("changed", entry);
      this.emit("seen", entry);
      if (kind === "call") this.emit("called", Buffer.from(entry.key, "base64"), entry.endpoints);
      if (kind === "joined") this.emit("peer", { name: entry.name, state: "joined" }, entry.status);
    }
  }

  #onRoomPush([, room, state, name, client]: RespValue[]): void {
    if (typeof room !== "string" || typeof name !== "string") return;
    if (state === "left") this.emit("room", { room, name, entry: null });
    if (state !== "joined" || client === undefined) return;
    const entry = entryFrom(client);
    if (entry === null) return;
    this.emit("seen", entry);
    this.emit("room", { room, name: entry.name, entry });
  }

  #onLost(): void {
    clearInterval(this.#ping);
    if (this.#isClosing) return;
    this.#tellOfServer("lost");
    this.#reconnect().catch((error: Error) => this.#giveUp(error));
  }

  #giveUp(error: Error): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#addressWatch?.[Symbol.dispose]();
    this.#ended = error;
    clearInterval(this.#ping);
    this.#end(error);
    this.emit("gone", error);
  }

  /** The next one of the list, after its last the first. */
  get #next(): number {
    return (this.#at + 1) % this.#servers.length;
  }

  /** All servers of the list, from that one on. */
  #order(from: number): number[] {
    const { length } = this.#servers;
    return Array.from({ length }, (_, i) => (from + i) % length);
  }

  async #reconnect(): Promise<void> {
    // The one that was left, first: the row is there, and often it was a worker process of it that died. One that is silent, or ends, is the last.
    let from = this.#connection.isExpired || this.#isEnding ? this.#next : this.#at;
    const isLocal = this.#servers.every(({ address }) => isLoopback(address.host));
    for (let attempt = 0; !(await this.#returnTo(this.#order(from), attempt, isLocal)); attempt++) {
      from = this.#at;
      await this.#options.revive?.(this.#stop.signal);
    }
    if (this.#isClosing) return this.#connection.close();
    this.#reconnects++;
    this.#refusals.clear();
    this.#watchOver();
    this.#tellOfServer("back");
    this.#wake();
  }

  /** Once to each of them, after a pause. @returns whether one has the name on it again. @throws what no retry mends */
  async #returnTo(order: readonly number[], attempt: number, isLocal: boolean): Promise<boolean> {
    const limits = isLocal ? LOCAL_RECONNECT : RECONNECT;
    const pauseMs = returnDelayMs(attempt, this.#clients, { limits, longestMs: RECONNECT.maxMs });
    await sleep(pauseMs, this.#stop.signal);
    for (const at of order) {
      let isGreeted = false;
      try {
        const reached = await reach({ ...this.#options, signal: this.#stop.signal }, this.#servers, at);
        isGreeted = true;
        this.#adopt(reached);
        this.#listen();
        await this.#enter();
        if (this.#watched.size > 0) await this.#connection.ask("WATCH", ...this.#watched);
        return true;
      } catch (error) {
        this.#connection.close();
        // On this host somebody else may have been quicker at the port with something that is not the server: until that has gone.
        const isForeign = isLocal && !isGreeted && error instanceof TalkError && error.code === "refused";
        if (isOtherServer(error)) this.#tellRefused(error);
        else if (!isPassing(error) && !isForeign && !(order.length > 1 && isOfOneServer(error))) throw error;
      }
    }
    return false;
  }

  /** Business with the server ends, and nothing else: conversations go on, and the server may come back, or be approved of. */
  #tellRefused(error: TalkError): void {
    if (this.#refusals.has(error.message)) return;
    this.#refusals.add(error.message);
    this.emit("refused", error);
  }

  #tellOfServer(state: ServerEvent["state"]): void {
    const { serverUid: uid, serverUser: user } = this.#greeting;
    this.emit("server", { state, address: this.#connection.server, uid, user });
  }

  #adopt({ connection, greeting, at, scope }: Reached): void {
    this.#scope = scope;
    this.#at = at;
    this.#connection = connection;
    this.#greeting = greeting;
    this.#serverStartedAt = performance.now() - greeting.uptimeMs;
    this.#takesTouch = true;
  }
}

/** An administrator's word: this client does not come back by itself. */
function removedBy([, by, until]: RespValue[], server: string): TalkError {
  const who = typeof by === "string" && by !== "" ? by : "an administrator";
  const end = typeof until === "string" && /^[1-9]\d{0,15}$/.test(until) ? new Date(Number(until)) : null;
  if (end === null || Number.isNaN(end.getTime())) {
    return TalkError.refused(`${who} has removed you from the lookup server ${server}`);
  }
  return TalkError.refused(`${who} has banned you from the lookup server ${server} until ${end.toISOString()}`);
}

/** A connection with a server of the list that is the one that it was before. */
interface Reached extends GreetedConnection {
  readonly at: number;
  readonly scope: PinScope;
}

function serverAt(servers: readonly ListedServer[], at: number): ListedServer {
  return servers[at] as ListedServer;
}

/** @throws TalkError unreachable, refused, protocol; the signal's reason */
async function reach(options: ServerSessionOptions, servers: readonly ListedServer[], at: number): Promise<Reached> {
  const server = serverAt(servers, at);
  const { address, checkCertificate, identify } = server;
  const { insecure, ca } = options;
  const { connection, greeting } = await inTime(servers, server, options.signal, (signal) =>
    ServerConnection.greeted({ address, checkCertificate, insecure, ca, signal }),
  );
  const { directory, isDirect, statement } = greeting;
  try {
    const scope = identify({ address, directory, isDirect, serverKey: statement.serverKey });
    return { connection, greeting, at, scope };
  } catch (error) {
    connection.close();
    throw error;
  }
}

const isSameServer = (a: ServerAddress, b: ServerAddress): boolean => formatServerAddress(a) === formatServerAddress(b);

/** Address and port, alternately. */
function endpointsIn(words: readonly RespValue[]): Endpoint[] {
  const endpoints: Endpoint[] = [];
  for (let i = 0; i + 1 < words.length && endpoints.length < MAX_ENDPOINTS; i += 2) {
    const [address, port] = [words[i], words[i + 1]];
    if (typeof address === "string" && typeof port === "number") endpoints.push({ address, port });
  }
  return endpoints.filter((endpoint) => endpointProblem(endpoint) === null);
}

/** A room that the server does not let us into again, or not now, is no reason to be off. */
function passOverReply(error: unknown): void {
  if (!(error instanceof ReplyError) && !(error instanceof TalkError && error.cause instanceof ReplyError)) throw error;
}

/** The server has answered, and will not answer otherwise by itself. */
function isRefusal(error: unknown): boolean {
  const reply = error instanceof TalkError ? error.cause : error;
  return reply instanceof ReplyError && reply.code !== "TRYAGAIN";
}

/** The login of this process's user, null when it has none. */
function ownLogin(): string | null {
  try {
    return userInfo().username;
  } catch {
    return null;
  }
}
