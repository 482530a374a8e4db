// One user who is on: registered with the lookup server, listed on this machine, reachable by the others. Puts session, address
// book, peer transport and the row of the local table together, and tells the program what happens; each of them does its own work.
//
//  connect()  options are checked -> session greets -> UDP socket opens -> name is registered -> row in the local table
//  send()     "sent" -> outbound.ts -> "delivered", "failed" or "unconfirmed"
//  inbound    transport -> inbound.ts -> "message" listeners
//  pushes     session -> address book -> messages under way follow (outbound.ts); "peer" and "server" events
import { randomUUID } from "node:crypto";
import { EventEmitter } from "node:events";
import { debuglog } from "node:util";
import { abortable, withTimeout } from "../base/async.ts";
import { TalkError, type TalkErrorCode } from "../base/errors.ts";
import { defaultStateDir } from "../base/files.ts";
import { foldIfValid, foldName, isRoom, validateName, validateRoom } from "../base/names.ts";
import { DEFAULT_SERVER, isLoopback, parseServerList, type ServerAddress } from "../base/server-address.ts";
import { isServiceAt } from "../base/service.ts";
import { type Identity, loadOrCreateIdentity } from "../crypto/identity.ts";
import { type DirectoryEntry, MAX_STATUS_BYTES, type PresenceState } from "../directory/entry.ts";
import { PeerTransport } from "../peer/transport.ts";
import type { IncomingMessage, PeerTransportOptions } from "../peer/types.ts";
import { addOwnKey } from "../presence/local-keys.ts";
import { listLocal } from "../presence/local-list.ts";
import { LocalPresence } from "../presence/presence.ts";
import type { HistoryJournal } from "../store/history/journal.ts";
import { IgnoreList } from "../store/ignored.ts";
import { KnownPeers } from "../store/known-peers.ts";
import { chainTo, oldIdentities } from "../store/own-keys.ts";
import { SeenIds } from "../store/seen-ids.ts";
import { keyFile, partsFolder } from "../store/state-paths.ts";
import { MAX_TEXT_BYTES } from "../wire/datagram-message.ts";
import { AddressBook } from "./address-book.ts";
import { Admission } from "./admission.ts";
import { Arrivals } from "./arrivals.ts";
import { checkConnectOptions } from "./connect-options.ts";
import { ownEndpoints, reachableEndpoints, withZones } from "./endpoints.ts";
import type { FileTransfers } from "./file-transfers.ts";
import { openHistory, readKept } from "./history.ts";
import { HoleLifetime } from "./hole-lifetime.ts";
import { InboundMessages } from "./inbound.ts";
import type { LeftMessages, LeftParts } from "./left-messages.ts";
import { LocalUsers } from "./local-users.ts";
import {
  type CheckedSend,
  checkSend,
  type Delivery,
  failedCode,
  isUnconfirmed,
  OutboundMessages,
  type OutboundText,
  type SendLimits,
} from "./outbound.ts";
import { OwnEndpoint } from "./own-endpoint.ts";
import { chatPortHeld } from "./port-holder.ts";
import type { Revival } from "./revival.ts";
import { checkRoom, sendToRoom } from "./room-message.ts";
import { Rooms } from "./rooms.ts";
import { acceptedServers, listedServers, rememberedServers } from "./server-list.ts";
import { ServerSession } from "./server-session.ts";
import type {
  ClientStats,
  ConnectOptions,
  HistoryOptions,
  HistoryRecord,
  KeptEvent,
  LocalEntry,
  ReceiptEvent,
  RoomResult,
  SendFileOptions,
  SendFileResult,
  SendOptions,
  SendResult,
  ServerEvent,
  Standing,
  TalkClientEvents,
  TalkConnection,
  Via,
  WallResult,
} from "./types.ts";
import { isFromAdmin, isFromRoot, sendWall } from "./wall.ts";

const debug = debuglog("ptalk-client");

/**
 * A user of a lookup server.
 *
 *     const client = await TalkClient.connect({ name: "alice" });
 *     client.on("message", ({ from, text }) => console.log(`${from}: ${text}`));
 *     await client.send("bob", "hello");   // resolves once bob's program has handed it to its output
 *     await client.close();
 *
 * Events: see {@link TalkClientEvents}. A "message" listener may be async: the sender learns "delivered" when it is done. A
 * program that does not listen declines what is sent to it.
 */
export class TalkClient extends EventEmitter<TalkClientEvents> implements TalkConnection {
  readonly name: string;
  /** "SHA256:…" of this user's public key. */
  readonly fingerprint: string;
  readonly #publicKey: Uint8Array;
  readonly #session: ServerSession;
  readonly #transport: PeerTransport;
  readonly #book: AddressBook;
  readonly #inbound: InboundMessages;
  readonly #outbound: OutboundMessages;
  readonly #ownEndpoint: OwnEndpoint;
  readonly #rooms: Rooms;
  /** Only clients that wait for a user who is off need it. */
  #arrivals: Arrivals | undefined;
  readonly #admission: Admission;
  /** Most programs never see a file: what sends and receives them is loaded for the first one. */
  #files: FileTransfers | undefined;
  #connectedAt = Number.POSITIVE_INFINITY;
  readonly #stateDir: string;
  readonly #ignored: IgnoreList;
  readonly #seen: SeenIds;
  readonly #journal: HistoryJournal | undefined;
  #presence: LocalPresence | undefined;
  /** Most sends leave nothing: what leaves and gets messages is loaded when it is needed. */
  #left: Promise<LeftMessages> | undefined;
  /** While the first check for left messages goes on. */
  #leftShown: Promise<void> | undefined;
  readonly #leftParts: Pick<LeftParts, "identity" | "peers">;
  #ended: Error | undefined;

  private constructor(options: ConnectOptions, { identity, peers, session, transport, stateDir, journal }: Parts) {
    super();
    this.#stateDir = stateDir;
    this.#journal = journal;
    this.name = options.name;
    this.fingerprint = identity.fingerprint;
    this.#publicKey = identity.publicKey;
    this.#leftParts = { identity, peers };
    this.#session = session;
    this.#transport = transport;
    const localUsers = new LocalUsers();
    this.#book = new AddressBook({
      scope: () => session.scope,
      peers,
      source: session,
      endpointsOf: (entry) => reachableEndpoints(entry, session),
      hasSession: (peer) => transport.hasSession(peer),
      onMet: (name, print) => this.#tell("met", { name, fingerprint: print }),
      localUsers: () => (session.isOnThisHost ? localUsers : null),
      onLearned: (name, entry) => this.#outbound.follow(name, entry),
    });
    this.#outbound = new OutboundMessages({ from: this.name, book: this.#book, transport });
    this.#ignored = new IgnoreList(stateDir);
    this.#seen = new SeenIds({ stateDir, name: this.name, onFailure: warnOfSeenIds });
    const admission = new Admission({ accept: options.accept ?? "all", ignored: this.#ignored, book: this.#book });
    this.#admission = admission;
    this.#inbound = new InboundMessages({
      book: this.#book,
      admission,
      untilLeftShown: () => this.#leftShown,
      seen: this.#seen,
      journal,
      isWall: (message) => this.#isWall(message),
      onFolded: options.fold ? (event) => this.#tell("folded", event) : undefined,
      isUnattended: options.unattended ?? false,
      client: this,
      isInRoom: (room) => this.#rooms.has(room),
      deliver: options.deliver,
      receiveAfter: options.receiveAfter,
      onReceived: () => this.#presence?.received(),
      onRefused: (error) => this.#tell("refused", error),
      onListenerError: (reason) => this.#onListenerError(reason),
    });
    transport.on("message", (message, settle, output) => {
      if (options.register === "never") settle("declined");
      else void this.#inbound.receive(message, settle, output);
    });
    transport.on("body", (body, settle) => {
      if (this.#files !== undefined) this.#files.receive(body, settle);
      else void this.#loadFiles().then((files) => files.receive(body, settle));
    });
    transport.on("path", ({ name, via, endpoint }) => {
      this.#tell("path", { name, via, address: endpoint?.address ?? null, port: endpoint?.port ?? null });
    });
    transport.on("error", (error) => this.#fail(error));
    // A client that is not on is gone in a moment.
    const lifetime =
      options.register === "never" ? null : new HoleLifetime(session, () => this.#ownEndpoint.lifetimeChanged());
    const own = new OwnEndpoint({ session, transport, lifetime, onPortChanged: () => this.#presence?.moved(this) });
    this.#ownEndpoint = own;
    transport.on("unanswered", ({ name }) => {
      const { seen } = own;
      const guesses = ownEndpoints({
        port: transport.port,
        local: session.localAddress,
        seen: null,
        own: session.ownAddresses,
      });
      const from = seen === null ? guesses : [{ ...seen, kind: "host" as const }, ...guesses];
      session.call(name, from);
    });
    session.on("called", (key, from) => transport.invite({ key, endpoints: withZones(from) }));
    session.on("moved", () => void own.ask());
    session.on("relayed", (place, datagram) => transport.receiveRelayed(place, datagram));
    session.on("notHere", (place) => transport.noteNotHere(place));
    this.#rooms = new Rooms({
      name: this.name,
      source: session,
      onEvent: (event) => this.#tell("room", event),
    });
    session.on("room", (push) => this.#rooms.onPush(push));
    session.on("server", (event) => this.#onServer(event));
    session.on("changed", (entry) => this.#onChanged(entry));
    session.on("seen", (entry) => this.#book.learn(entry));
    session.on("peer", (event, status) => {
      if (event.state === "left") this.#book.onLeft(event.name);
      this.#tell("peer", event);
      // The server may push a client's coming and its first status together. A client that has set none is "here".
      if (status !== undefined && status.state !== "here") this.#tellStatus(event.name, status);
    });
    session.on("mail", () => void this.#checkLeft());
    session.on("refused", (error) => this.#tell("refused", error));
    session.on("gone", (error) => this.#fail(error));
  }

  /**
   * Registers and begins to receive.
   * @throws TalkError usage (an option that is none: its name is the error's `subject`), bad-name, name-taken, full, unreachable,
   * protocol, refused (certificate, key file); the system's error for a UDP port that cannot be had; the signal's reason
   */
  static async connect(options: ConnectOptions): Promise<TalkClient> {
    checkConnectOptions(options);
    const { stateDir = defaultStateDir(), signal } = options;
    signal?.throwIfAborted();
    const servers = parseServerList(options.server ?? DEFAULT_SERVER, "server");
    const identity = loadOrCreateIdentity(keyFile(stateDir));
    const join = (revival?: Revival) => TalkClient.#join(options, { servers, stateDir, identity, revival });
    const [address] = servers;
    // A server is started where it is the only one.
    if (!options.startServer || address === undefined || servers.length > 1 || isServiceAt(address)) return join();
    const [{ withEmbeddedServer }, { Revival }] = await Promise.all([
      import("./embedded-server.ts"),
      import("./revival.ts"),
    ]);
    let client: TalkClient | undefined;
    const takeTurn = (port: number) => (client === undefined ? null : client.#takeTurn(port));
    const revival = new Revival({ address, stateDir, takeTurn });
    client = await withEmbeddedServer({ address, stateDir, signal }, () => join(revival));
    return client;
  }

  static async #join(options: ConnectOptions, { servers, stateDir, identity, revival }: Home): Promise<TalkClient> {
    const { register = "always", recipients = [], signal } = options;
    const session = await ServerSession.open({
      name: options.name,
      servers: [
        ...listedServers(stateDir, servers),
        ...(revival === undefined ? rememberedServers(stateDir, servers) : []),
      ],
      accept: (told, teller) => acceptedServers(stateDir, told, teller),
      identity,
      insecure: options.insecure ?? false,
      ca: options.ca,
      listed: options.listed,
      relay: options.relay,
      chain: chainTo(stateDir, identity),
      signal,
      revive: revival && ((stop) => revival.revive(stop)),
    });
    const undo: (() => Promise<unknown>)[] = [() => session.close()];
    try {
      // Where all clients of the server are on this host, and of those that may take its place, no other host has to reach the socket.
      const staysHere = session.isOfHost && servers.every(({ host }) => isLoopback(host));
      const bound = staysHere ? { address: session.localAddress } : {};
      const relay = (place: string, datagram: Buffer) => session.relay(place, datagram);
      const ownHomes = () => session.endpoints;
      const transport = await openChatSocket(options, { identity, ...bound, relay, ownHomes });
      undo.push(() => transport.close({ timeoutMs: 0 }));
      const peers = new KnownPeers(stateDir);
      const client = new TalkClient(options, {
        ...{ identity, peers, session, transport, stateDir },
        journal: await openHistory({ ...options, stateDir }),
      });
      for (const name of recipients) client.#lookAhead(name);
      showKey(identity.publicKey);
      await (register === "never" ? session.claim() : session.register(transport.port, options.replace));
      signal?.throwIfAborted();
      if (register === "always") client.#presence = LocalPresence.join(client, identity.publicKey);
      client.#inbound.onConnected();
      revival?.noteServer();
      if (revival !== undefined) client.on("server", ({ state }) => void (state === "back" && revival.noteServer()));
      client.#connectedAt = performance.now();
      void client.#ownEndpoint.ask();
      if (register === "always") client.#leftShown = client.#firstLeft();
      return client;
    } catch (error) {
      await Promise.all(undo.map((step) => step()));
      throw error;
    }
  }

  /** "HOST:PORT" of the lookup server that this client is at, or was last: of several, another one when that is gone. */
  get server(): string {
    return this.#session.server;
  }
  /** The address that the directory shows first: this machine's on the way to the server, or as others see it. */
  get address(): string {
    return this.#session.address;
  }
  /** How this client and its server stand to each other. */
  get standing(): Standing {
    return this.#session.standing;
  }
  /** UDP port of the chat socket. */
  get port(): number {
    return this.#transport.port;
  }

  /**
   * Sends one message; resolves when the receiving program has handed it to its output. A program that is restarted meanwhile
   * gets it at its new address. A message that fails will not appear later; one that is "unconfirmed" may or may not
   * have been shown.
   * @param to a name; compared as the server does, case-folded. A room, "#ops": to each of the others in it, at most 128; then it resolves to
   * what became of it at each of them, and rejects only for a room that is empty or too large, or that the server cannot be asked about.
   * @param text at most 65,536 bytes of UTF-8
   * @throws TalkError with the code of the "failed" event, or unconfirmed; usage for an argument that is none (then nothing was sent, and no event
   * tells of it); the signal's reason
   */
  send(to: `#${string}`, text: string, options?: SendOptions): Promise<RoomResult>;
  send(to: string, text: string, options?: SendOptions): Promise<SendResult>;
  async send(to: string, text: string, options: SendOptions = {}): Promise<SendResult | RoomResult> {
    const limits = checkSend(to, text, options);
    limits.signal?.throwIfAborted();
    if (this.#ended) throw this.#ended;
    const { id = randomUUID() } = limits;
    if (isRoom(to)) return await this.#sendToRoom(validateRoom(to), { id, text }, limits);
    this.#tell("sent", { id, to, at: Date.now() });
    const said = { direction: "out", with: to, room: null, id, text } as const;
    try {
      const { ms, via, recipient } = await this.#sendTo({ id, to, text }, limits);
      if ("until" in recipient) {
        this.#journal?.add({ ...said, at: recipient.at, state: "kept", via, fingerprint: null });
        return { id, to, ms, via, state: "kept" };
      }
      const { fingerprint } = recipient;
      this.#journal?.add({ ...said, at: Date.now(), state: "delivered", via, fingerprint });
      return { id, to, ms, via, state: "delivered" };
    } catch (error) {
      const state = isUnconfirmed(error) ? "unconfirmed" : "failed";
      this.#journal?.add({ ...said, at: Date.now(), state, via: null, fingerprint: null });
      throw error;
    }
  }

  /** One message to one program, with the event that says what became of it. */
  async #sendTo(
    { id, to, text, room }: OutboundText,
    limits: CheckedSend,
  ): Promise<{ ms: number; via: Via; recipient: DirectoryEntry | KeptEvent }> {
    const { auto, repeated } = limits;
    const startedAt = performance.now();
    let outcome: Delivery | KeptEvent;
    try {
      const message = { id, to, text, room, auto, repeated };
      if (room === undefined && limits.leaves) outcome = await this.#sendOrLeave(message, limits);
      else if (room === undefined && limits.waitMs !== undefined)
        outcome = await this.#sendWhenOn(message, limits, limits.waitMs);
      else outcome = await this.#outbound.send(message, limits);
    } catch (error) {
      const at = Date.now();
      const message = error instanceof Error ? error.message : String(error);
      if (isUnconfirmed(error)) this.#tell("unconfirmed", { id, to, room: room ?? null, at, message });
      else {
        const remedy = error instanceof TalkError ? error.remedy : null;
        this.#tell("failed", { id, to, code: failedCode(error), message, room: room ?? null, remedy });
      }
      throw error;
    }
    const ms = sinceMs(startedAt);
    if ("until" in outcome) {
      this.#tell("kept", outcome);
      return { ms, via: "mailbox", recipient: outcome };
    }
    this.#presence?.sent();
    const { recipient, via } = outcome;
    this.#tell("delivered", { id, to, at: Date.now(), ms, room: room ?? null, via });
    return { ms, via, recipient };
  }

  async #sendToRoom(
    room: string,
    { id, text }: Pick<OutboundText, "id" | "text">,
    limits: CheckedSend,
  ): Promise<RoomResult> {
    const bytes = Buffer.byteLength(text);
    if (bytes > MAX_TEXT_BYTES) throw TalkError.tooLong(bytes, MAX_TEXT_BYTES);
    // In a room that this client is in, it writes to the members it has shown; else to those that the server names now.
    const members = this.#rooms.othersIn(room) ?? (await this.#othersIn(room, limits));
    checkRoom(room, members);
    this.#tell("sent", { id, to: room, at: Date.now() });
    const result = await sendToRoom({
      ...{ id, room, members },
      isKnown: ({ name, key }) => this.#book.isKnown(foldName(name), key),
      send: (to) => this.#sendTo({ id, to, text, room }, limits),
    });
    limits.signal?.throwIfAborted();
    this.#tell("room-result", result);
    const state = result.delivered > 0 ? "delivered" : "failed";
    const via = result.delivered > 0 ? "direct" : null;
    this.#journal?.add({
      ...{ direction: "out", with: room, room, id, text, at: Date.now() },
      ...{ state, via, fingerprint: null },
    });
    return result;
  }

  async #othersIn(room: string, { timeoutMs, signal }: CheckedSend): Promise<readonly DirectoryEntry[]> {
    const limit = AbortSignal.timeout(timeoutMs);
    const own = foldName(this.name);
    const members = await abortable(
      this.#session.members(room),
      signal === undefined ? limit : AbortSignal.any([signal, limit]),
    );
    return members.filter(({ name }) => foldName(name) !== own);
  }

  /**
   * Enters a room, "#ops", and stays in it, through restarts of the server too, until part() or close(). Any client
   * that can register can join; the list of members is public. "room" events announce members who come and go, and
   * "message" events have its `room`.
   * @returns the others in it
   * @throws TalkError bad-name, too-many (16 rooms), unreachable, usage for a client that is not on
   */
  async join(room: string): Promise<readonly DirectoryEntry[]> {
    return await this.#rooms.join(validateRoom(room));
  }

  /** @throws TalkError bad-name, unreachable; usage for a room that this client is not in */
  async part(room: string): Promise<void> {
    await this.#rooms.part(validateRoom(room));
  }

  /** The members of a room, as the server says; this client need not be one. @throws TalkError bad-name, unreachable */
  async members(room: string): Promise<readonly DirectoryEntry[]> {
    return await this.#session.members(validateRoom(room));
  }

  /** Folded names of the rooms that this client is in. */
  get rooms(): readonly string[] {
    return this.#rooms.names;
  }

  /** Directly; or at the server, if that does not succeed. Under one id, so that it is shown once. */
  async #sendOrLeave(message: OutboundText, limits: SendLimits): Promise<Delivery | KeptEvent> {
    try {
      // A recipient on its way back finds it in the mailbox: no reason to hold the sender up.
      return await this.#outbound.send(message, { ...limits, awaitsReturn: false });
    } catch (error) {
      const code = error instanceof TalkError ? error.code : "";
      limits.signal?.throwIfAborted();
      if (this.#ended || !["no-such-user", "not-delivered", "unconfirmed"].includes(code)) throw error;
    }
    const { to, id, text, auto = false } = message;
    return await abortable((await this.#loadLeft()).leave(to, { id, from: this.name, text, auto }), limits.signal);
  }

  /**
   * Why send() could not leave a message for the name, as far as that is known; null if nothing speaks against it. Nothing is sent.
   * @returns no-key, key-mismatch; not-understood where the server keeps no messages
   */
  async leaveObstacle(to: string): Promise<TalkError | null> {
    return await (await this.#loadLeft()).obstacle(to);
  }

  #loadLeft(): Promise<LeftMessages> {
    this.#left ??= import("./left-messages.ts").then(({ LeftMessages }) => {
      const parts = { book: this.#book, inbound: this.#inbound, seen: this.#seen, session: this.#session };
      const { name } = this;
      const onReceipt = (event: ReceiptEvent): void => this.#tell("receipt", event);
      return new LeftMessages({
        ...this.#leftParts,
        ...parts,
        oldIdentities: () => oldIdentities(this.#stateDir),
        name,
        onReceipt,
      });
    });
    return this.#left;
  }

  async #checkLeft(): Promise<void> {
    await (await this.#loadLeft()).check();
  }

  /** At most LEFT_FIRST_MS: then what comes directly is shown, whatever is still to come. */
  async #firstLeft(): Promise<void> {
    await withTimeout(LEFT_FIRST_MS, this.#checkLeft(), undefined);
    this.#leftShown = undefined;
  }

  /** Until it is delivered, or the time is over; what may have arrived is not sent again. */
  async #sendWhenOn(message: OutboundText, limits: SendLimits, waitMs: number): Promise<Delivery> {
    const { to } = message;
    const name = foldIfValid(to);
    if (name === null) throw TalkError.noSuchUser(to);
    const deadline = performance.now() + waitMs;
    this.#arrivals ??= new Arrivals(this.#session);
    using expected = await this.#arrivals.expect(name);
    for (let repeated = message.repeated ?? false; ; repeated = true) {
      const leftMs = Math.max(1, Math.ceil(deadline - performance.now()));
      const timeoutMs = Math.min(limits.timeoutMs, leftMs);
      try {
        return await this.#outbound.send({ ...message, repeated }, { ...limits, timeoutMs });
      } catch (error) {
        const code = error instanceof TalkError ? error.code : "";
        limits.signal?.throwIfAborted();
        if (this.#ended || (code !== "no-such-user" && code !== "not-delivered")) throw error;
        if (performance.now() >= deadline) throw code === "not-delivered" ? error : notOn(to);
        const pauseMs = code === "not-delivered" ? TRY_AGAIN_MS : deadline - performance.now();
        await abortable(expected.next(Math.max(1, pauseMs)), limits.signal);
        if (performance.now() >= deadline && code === "no-such-user") throw notOn(to);
      }
    }
  }

  /**
   * Offers a file to the holder of the name, and sends it once it is accepted, from where an earlier attempt broke off.
   * Resolves when the receiver has the whole file, synced to its disk, under its name.
   * @param path of a regular file; its base name goes along
   * @throws TalkError as send(); not-delivered also for a file that changes meanwhile, bad-data for one that is no regular file, usage for
   * an argument that is none; the system's error for a file that cannot be read; the signal's reason
   */
  async sendFile(to: string, path: string, options: SendFileOptions = {}): Promise<SendFileResult> {
    if (this.#ended) throw this.#ended;
    return await (await this.#loadFiles()).send(to, path, options);
  }

  /**
   * Sends one message to everybody who is listed, each sealed for its receiver alone. Receivers on root's machine show
   * root's as such, even if they ignore root; from any other user it is a text.
   * @param text as for send()
   * @returns how many have it, of how many
   * @throws TalkError usage, too-long, unreachable; the signal's reason
   */
  async wall(text: string, options: SendOptions = {}): Promise<WallResult> {
    const limits = checkSend(this.name, text, options);
    if (Buffer.byteLength(text) > MAX_TEXT_BYTES) throw TalkError.tooLong(Buffer.byteLength(text), MAX_TEXT_BYTES);
    if (this.#ended) throw this.#ended;
    // In the local table receivers see whose process this is. A client that only sends stays there for as long as that
    // takes.
    const presence = this.#presence ?? LocalPresence.join(this, this.#publicKey);
    try {
      const { auto } = limits;
      const result = await sendWall({
        name: this.name,
        everybody: await this.all(),
        send: (message) => this.#outbound.send({ ...message, text, auto }, limits),
      });
      limits.signal?.throwIfAborted();
      return result;
    } finally {
      if (presence !== this.#presence) presence.leave();
    }
  }

  /** @returns the client of that name, null if there is none. @throws TalkError unreachable, usage */
  async lookup(name: string): Promise<DirectoryEntry | null> {
    if (typeof name !== "string") {
      throw new TalkError("usage", `lookup(): name must be a string, not ${typeof name}`, { subject: "name" });
    }
    const folded = foldIfValid(name);
    return folded === null ? null : this.#book.lookup(folded);
  }

  /** Everyone who is on. @throws TalkError unreachable */
  async all(): Promise<DirectoryEntry[]> {
    this.#book.tellLookups(); // so that they are in what is asked for
    return this.#session.all();
  }

  /**
   * The first names, at most 100, that begin with this text, whatever its case; in their order. Those of clients that are not listed
   * are not among them. For completion: it costs the same however many are on. @throws TalkError unreachable
   */
  names(prefix: string): Promise<string[]> {
    return this.#session.names(prefix);
  }

  /** The server tells of everybody who comes and goes; false while too many are on, and it tells of those only that this client deals with. */
  get hearsAll(): boolean {
    return this.#session.hearsAll;
  }

  /** How many are on, this client among them. @throws TalkError unreachable */
  count(): Promise<number> {
    return this.#session.count();
  }

  /** Every ptalk client on this machine, from shared memory: no server is asked. */
  async list(): Promise<LocalEntry[]> {
    this.#presence?.update();
    return listLocal();
  }

  /**
   * Says in this client's entry whether somebody looks at it. Kept over reconnections.
   * @param text at most 128 bytes of UTF-8 without control characters
   * @throws TalkError usage, bad-data, unreachable
   */
  async setStatus(state: PresenceState, text = ""): Promise<void> {
    if (!["here", "idle", "away"].includes(state)) {
      throw new TalkError("usage", 'setStatus(): state must be "here", "idle" or "away"', { subject: "state" });
    }
    if (typeof text !== "string")
      throw new TalkError("usage", "setStatus(): text must be a string", { subject: "text" });
    if (Buffer.byteLength(text) > MAX_STATUS_BYTES || /\p{Cc}/u.test(text)) {
      throw TalkError.badData(`a status has at most ${MAX_STATUS_BYTES} bytes and no control characters`);
    }
    if (this.#ended) throw this.#ended;
    await this.#session.setStatus(state, text);
  }

  /**
   * Declines what NAME sends from now on, to any program of this user: by the uid that the server's kernel vouches for, else by
   * key and name. Kept in the state directory.
   * @throws TalkError bad-name; bad-config for a list that cannot be read
   */
  async ignore(name: string): Promise<void> {
    const folded = validateName(name);
    this.#ignored.add({ name: folded, ...(await this.#book.identityOf(folded)) });
  }

  /** @returns whether it was ignored. @throws as ignore() */
  unignore(name: string): boolean {
    return this.#ignored.remove(validateName(name));
  }

  /** Folded names of those that are ignored. @throws TalkError bad-config */
  ignored(): string[] {
    return this.#ignored.names();
  }

  stats(): ClientStats {
    return {
      server: this.#session.stats(),
      directory: this.#book.stats(),
      messages: { ...this.#outbound.stats, ...this.#inbound.stats },
      peers: this.#transport.stats(),
    };
  }

  /**
   * What was said, by all programs of this user that keep it (see ConnectOptions.history), in the order of its time.
   * @throws TalkError usage; the system's error for files that cannot be read
   */
  async *history(options: HistoryOptions = {}): AsyncGenerator<HistoryRecord, void> {
    await this.#journal?.written();
    yield* readKept(this.#stateDir, options);
  }

  /** Leaves: gives what is under way a second, then fails it, says goodbye and frees everything. */
  async close(): Promise<void> {
    this.#ended ??= TalkError.closed("the client");
    this.#inbound.close();
    const leftDone = this.#left?.then((left) => left.close());
    await this.#files?.close();
    this.#ownEndpoint.close();
    await this.#transport.close();
    this.#rooms.close();
    this.#book.close();
    // Else its sender would learn nothing until this user is on again.
    if (leftDone !== undefined) await withTimeout(LEFT_LAST_MS, leftDone, undefined);
    await this.#session.close();
    this.#presence?.leave();
    await Promise.all([this.#journal?.close(), this.#seen.close()]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #takeTurn(what: number): (() => void) | null {
    return this.#presence === undefined ? () => {} : this.#presence.takeTurn(what);
  }

  async #loadFiles(): Promise<FileTransfers> {
    const { FileTransfers } = await import("./file-transfers.ts");
    this.#files ??= new FileTransfers({
      ...{ from: this.name, book: this.#book, admission: this.#admission, transport: this.#transport, client: this },
      folder: partsFolder(this.#stateDir),
      connectedAt: () => this.#connectedAt,
      onListenerError: (reason) => this.#onListenerError(reason),
    });
    return this.#files;
  }

  /** Root's, which this host itself shows; or, at a server of root's, one of its administrators'. */
  async #isWall(message: Pick<IncomingMessage, "from" | "key">): Promise<boolean> {
    if (isFromRoot(message)) return true;
    const { from, key } = message;
    if (!this.#session.isAtRootsServer || foldIfValid(from) === null) return false;
    return isFromAdmin({ key }, await withTimeout(ADMIN_LIMIT_MS, this.#session.adminOf(from), null));
  }

  #lookAhead(name: string): void {
    const folded = foldIfValid(name);
    if (folded !== null) this.#book.lookup(folded).catch(() => {}); // asked again when it is sent to
  }

  #onChanged(entry: DirectoryEntry): void {
    const folded = foldIfValid(entry.name);
    const before = folded === null ? null : this.#book.entryOf(folded, entry.key);
    const { state, text } = entry.status;
    if (before !== null && before.status.state === state && before.status.text === text) return;
    this.#tellStatus(entry.name, entry.status);
  }

  #tellStatus(name: string, { state, text }: DirectoryEntry["status"]): void {
    this.#tell("status", { name, state, text });
  }

  #onServer(event: ServerEvent): void {
    if (event.state === "back") {
      this.#presence?.moved(this);
      void this.#ownEndpoint.ask();
      this.#book.invalidate();
      this.#outbound.lookAgain();
      if (this.#connectedAt !== Number.POSITIVE_INFINITY && this.#left !== undefined) void this.#checkLeft();
      this.#rooms.resync().catch(() => {}); // the connection is lost again: then once more
    }
    this.#tell("server", event);
  }

  #fail(error: Error): void {
    this.#ended ??= error;
    if (this.listenerCount("error") > 0) this.#tell("error", error);
  }

  /** A listener's mistake is the program's: not the message's fate, not the connection's. */
  #tell<E extends keyof TalkClientEvents>(event: E, ...args: TalkClientEvents[E]): void {
    try {
      (this as EventEmitter).emit(event, ...args);
    } catch (error) {
      this.#onListenerError(error);
    }
  }

  /** As a rejection is told of under EventEmitter's `captureRejections`. */
  #onListenerError(reason: unknown): void {
    const error = reason instanceof Error ? reason : new Error(String(reason));
    process.nextTick(() => this.emit("error", error)); // without a listener for it, emit() throws: an uncaught exception
  }
}

/** Milliseconds that a message to everybody waits for the server's word on its sender; then it is a text. */
const ADMIN_LIMIT_MS = 3_000;

/** Milliseconds that messages which come directly wait for those that were left. */
const LEFT_FIRST_MS = 2_000;

/** Milliseconds that leaving waits for the receipt of a message that was just shown. */
const LEFT_LAST_MS = 1_000;

/** Milliseconds until a message that was not confirmed is tried again, while its sender waits. */
const TRY_AGAIN_MS = 1_000;

const sinceMs = (startedAt: number): number => Math.round((performance.now() - startedAt) * 1000) / 1000;

const notOn = (to: string): TalkError => TalkError.notDelivered(to, "nobody of that name came on in time");

function warnOfSeenIds({ message }: Error): void {
  process.emitWarning(`a message that is sent again may be shown again: ${message}`, { code: "PTALK_NO_SEEN_IDS" });
}

/** Of a UDP port that was asked for and cannot be had; the system's error for all else. */
/** @throws TalkError unreachable, refused, for a port that was asked for; the system's error */
async function openChatSocket(
  { port = 0, portFallback = false }: ConnectOptions,
  options: PeerTransportOptions,
): Promise<PeerTransport> {
  try {
    return await PeerTransport.open({ ...options, port });
  } catch (error) {
    const isTaken = (error as NodeJS.ErrnoException).code === "EADDRINUSE";
    if (isTaken && port !== 0 && portFallback) return await PeerTransport.open({ ...options, port: 0 });
    throw chatSocketError(error, port);
  }
}

function chatSocketError(error: unknown, port: number): unknown {
  const reasons: Readonly<Record<string, readonly [TalkErrorCode, () => string]>> = {
    EADDRINUSE: ["unreachable", () => chatPortHeld(port)],
    EACCES: ["refused", () => "it needs privileges"],
  };
  const [code, reason] = reasons[(error as NodeJS.ErrnoException).code ?? ""] ?? [];
  if (port === 0 || code === undefined || reason === undefined) return error;
  const options = { cause: error, remedy: "other-chat-port", subject: String(port) } as const;
  return new TalkError(code, `UDP port ${port} cannot be had for messages: ${reason()}`, options);
}

/** Where a user's key and pins are, and the servers. */
interface Home {
  readonly servers: readonly ServerAddress[];
  readonly stateDir: string;
  readonly identity: Identity;
  /** Starts the server again when it dies; undefined where that is others' to do. */
  readonly revival: Revival | undefined;
}

interface Parts {
  readonly identity: Identity;
  readonly peers: KnownPeers;
  readonly session: ServerSession;
  readonly transport: PeerTransport;
  readonly stateDir: string;
  readonly journal: HistoryJournal | undefined;
}

/** Other programs of this user may be on: theirs must not be the only keys that are shown of it. */
function showKey(key: Uint8Array): void {
  try {
    addOwnKey(key);
  } catch (error) {
    debug("the key is not shown: %s", error instanceof Error ? error.message : error);
  }
}
