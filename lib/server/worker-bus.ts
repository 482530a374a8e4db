// Routes messages between workers and counts their connections. Runs in the primary.
import type { Socket } from "node:net";
import type { Endpoint } from "../base/endpoint.ts";
import type {
  ConnectionPlace,
  DirectoryConfig,
  DirectoryEvent,
  HostAnswer,
  HostRequest,
} from "../directory/directory.ts";
import type { NameRight } from "../directory/name-right.ts";
import { InterestIndex } from "./interest-index.ts";
import type {
  AdminAnswer,
  AdminQuestion,
  Callee,
  ClientRow,
  MailboxAnswer,
  MailboxRequest,
  Removal,
  ToPrimary,
  ToWorker,
  WorkerLoad,
} from "./messages.ts";
import type { NameQuestion } from "./name-rights.ts";
import { boundKey, type Origin } from "./origin.ts";
import { type ForPeer, isForPeer } from "./peers/peer-frames.ts";
import { RelayUsers } from "./relay-users.ts";

/** A worker, as the primary sees it. */
export interface WorkerHandle {
  readonly id: number;
  send(message: ToWorker): void;
  /** Gives it a connection, for good. @param full see {@link ToWorker} */
  hand(socket: Socket, origin: Origin, full: boolean): void;
  /** Ends it at once. */
  kill(): void;
}

interface WorkerState {
  readonly worker: WorkerHandle;
  /** Called when it has reopened its directory, or is gone. */
  onReopened: (() => void) | null;
  /** Open connections by the owner that they count for, see boundKey(). */
  readonly origins: Map<string, number>;
  connections: number;
}

/** Ms that a worker gets to reopen its directory; it takes milliseconds. */
const REOPEN_MS = 2_000;

/** Ms that INFO waits for the counters of a worker that is busy or dying. */
const LOAD_TIMEOUT_MS = 500;
/** The same for what an administrator asks: it may be the busy worker that is asked about. */
const ADMIN_TIMEOUT_MS = 5_000;

export interface BusOwner {
  /** The first watcher has come, or the last one has gone: see isWatched. */
  watchingChanged(): void;
  /** A worker's client asks for the mailbox. Does not reject. */
  mailbox(id: number, request: MailboxRequest): Promise<MailboxAnswer>;
  /** A worker's connection has gone. */
  mailboxRelease(id: number, connection: number): void;
  /** Clients came or went at worker `id`. */
  changed(id: number, events: readonly DirectoryEvent[]): void;
  /** It is for a client at that server. */
  elsewhere(server: string, message: ForPeer): void;
  /** A worker's process has begun. */
  up(id: number): void;
  /** A worker takes connections. */
  ready(id: number): void;
  /** A worker's directory asks its host. Does not reject. */
  directory(request: HostRequest): Promise<HostAnswer>;
  workerError(reason: string): void;
  infoText(loads: readonly WorkerLoad[]): string;
  /** The other servers of the directory, see commands/servers.ts. Does not reject. */
  servers(withLinks: boolean): Promise<readonly (readonly (string | null)[])[]>;
  /** @param id of the worker */
  rightTo(id: number, question: NameQuestion): Promise<{ readonly right: NameRight; readonly isOver: boolean }>;
  clientGone(id: number, account: string): void;
  loginOf(uid: number): Promise<string | null>;
  /** Does not reject, and the next does not. @param id of the worker */
  admin(id: number, question: AdminQuestion): Promise<AdminAnswer>;
  isAdmin(uid: number): Promise<boolean>;
}

export class WorkerBus {
  readonly #owner: BusOwner;
  readonly #workers = new Map<number, WorkerState>();
  /** Questions to workers, by their numbers. */
  readonly #asked = new Map<number, (answer: never) => void>();
  readonly #interests = new InterestIndex();
  #lastQuestion = 0;
  readonly #relayUsers = new RelayUsers((id, client, workers) => {
    this.#workers.get(id)?.worker.send({ type: "relay-users", client, workers });
  });
  /** Events passed on, one for each worker that got it. */
  relayed = 0;

  constructor(owner: BusOwner) {
    this.#owner = owner;
  }

  /** Workers that are alive. */
  get owners(): number[] {
    return [...this.#workers.keys()];
  }

  /** Some connection watches the directory. */
  get isWatched(): boolean {
    return this.#interests.isWatched;
  }

  /** A client's chat socket was seen there. */
  observed(to: ConnectionPlace, { address, port }: Endpoint): void {
    this.#workers.get(to.worker)?.worker.send({ type: "observed", to, address, port });
  }

  /** Open connections, in all. */
  get connections(): number {
    let sum = 0;
    for (const member of this.#workers.values()) sum += member.connections;
    return sum;
  }

  /** Open connections of one worker. */
  connectionsAt(id: number): number {
    return this.#workers.get(id)?.connections ?? 0;
  }

  /** Open connections of one user or address. @param key see boundKey() */
  connectionsOf(key: string): number {
    let sum = 0;
    for (const member of this.#workers.values()) sum += member.origins.get(key) ?? 0;
    return sum;
  }

  add(worker: WorkerHandle): void {
    this.#workers.set(worker.id, {
      worker,
      onReopened: null,
      origins: new Map(),
      connections: 0,
    });
    this.#sendLiveWorkers();
  }

  remove(id: number): void {
    this.#workers.get(id)?.onReopened?.();
    this.#interests.forget(id);
    if (this.#workers.delete(id)) this.#sendLiveWorkers();
    this.#relayUsers.workerDied(id);
  }

  /** Gives a connection to a worker. */
  hand(id: number, socket: Socket, origin: Origin, full: boolean): void {
    const member = this.#workers.get(id);
    if (member === undefined) {
      socket.destroy();
      return;
    }
    member.connections++;
    const key = boundKey(origin);
    member.origins.set(key, (member.origins.get(key) ?? 0) + 1);
    member.worker.hand(socket, origin, full);
  }

  /** A registration at another server has taken the row of this client. */
  replaced(to: Callee): void {
    this.#sendTo(to, { type: "replaced", to });
  }

  broadcast(message: ToWorker): void {
    for (const { worker } of this.#workers.values()) worker.send(message);
  }

  /** So many messages wait for a name: any worker finds out whether somebody is on under it. */
  tellOfMail(name: string, count: number): void {
    const [first] = this.#workers.values();
    first?.worker.send({ type: "waiting", name, count });
  }

  /** Tells the workers whose clients these concern. @param except the worker that they come from */
  announce(events: readonly DirectoryEvent[], except?: number): void {
    for (const [id, share] of this.#interests.shares(events, except)) {
      this.relayed += share.length;
      this.#workers.get(id)?.worker.send({ type: "events", events: share });
    }
  }

  /** A worker's message. */
  receive(id: number, message: ToPrimary): void {
    const member = this.#workers.get(id);
    if (member === undefined) return;
    switch (message.type) {
      case "up":
        this.#owner.up(id);
        break;
      case "ready":
        this.#owner.ready(id);
        break;
      case "closed":
        forget(member, boundKey(message.origin));
        break;
      case "events":
        this.announce(message.events, id);
        this.#owner.changed(id, message.events);
        break;
      case "interest":
        this.#interests.change(id, message);
        member.worker.send({ type: "interest-known" });
        this.#owner.watchingChanged();
        break;
      case "call":
        this.#sendTo(message.to, { type: "call", to: message.to, from: message.from });
        break;
      case "knock":
      case "relay":
        this.#sendTo(message.to, message);
        break;
      case "relay-use":
        this.#relayUsers.change(id, message.client, message.isUsing);
        break;
      case "replaced":
        this.#sendTo(message.to, { type: "replaced", to: message.to });
        break;
      case "mail":
        this.#sendTo(message.to, { type: "mail", to: message.to, count: message.count });
        break;
      case "mailbox":
        void this.#owner.mailbox(id, message.request).then((answer) => {
          member.worker.send({ type: "mailbox", id: message.id, answer });
        });
        break;
      case "mailbox-release":
        this.#owner.mailboxRelease(id, message.connection);
        break;
      case "ask-info":
        void this.stats().then((loads) => {
          member.worker.send({ type: "info", id: message.id, text: this.#owner.infoText(loads) });
        });
        break;
      case "ask-servers":
        void this.#owner.servers(message.withLinks).then((rows) => {
          member.worker.send({ type: "servers", id: message.id, rows });
        });
        break;
      case "ask-right":
        void this.#owner.rightTo(id, message.question).then((answer) => {
          member.worker.send({ type: "right", id: message.id, ...answer });
        });
        break;
      case "client-gone":
        this.#owner.clientGone(id, message.account);
        break;
      case "ask-login":
        void this.#owner.loginOf(message.uid).then((login) => {
          member.worker.send({ type: "login", id: message.id, login });
        });
        break;
      case "ask-admin":
        void this.#owner.admin(id, message.question).then((answer) => {
          member.worker.send({ type: "admin", id: message.id, answer });
        });
        break;
      case "ask-is-admin":
        void this.#owner.isAdmin(message.uid).then((isAdmin) => {
          member.worker.send({ type: "is-admin", id: message.id, isAdmin });
        });
        break;
      case "load":
        this.#answered(message.id, message.load);
        break;
      case "clients":
        this.#answered(message.id, message.rows);
        break;
      case "removed":
        this.#answered(message.id, message.count);
        break;
      case "directory":
        void this.#owner.directory(message.request).then((answer) => {
          member.worker.send({ type: "directory", id: message.id, answer });
        });
        break;
      case "workerError":
        this.#owner.workerError(message.reason);
        break;
      case "reopened":
        member.onReopened?.();
        break;
      case "adopted":
      case "failed":
        break; // see worker-process.ts
    }
  }

  /** Lets every worker reopen its directory. Those that do not in time are ended, and others take their place. */
  async reopen(config: DirectoryConfig | null): Promise<void> {
    await Promise.all([...this.#workers.values()].map((member) => this.#reopen(member, config)));
  }

  #reopen(member: WorkerState, config: DirectoryConfig | null): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => member.worker.kill(), REOPEN_MS);
      member.onReopened = () => {
        clearTimeout(timer);
        member.onReopened = null;
        resolve();
      };
      member.worker.send({ type: "reopen", config });
    });
  }

  /** The counters of every worker that answers in time. */
  stats(): Promise<WorkerLoad[]> {
    return this.#askAll((id) => ({ type: "ask-load", id }), LOAD_TIMEOUT_MS);
  }

  /** All connections. */
  async clients(): Promise<ClientRow[]> {
    return (await this.#askAll<ClientRow[]>((id) => ({ type: "ask-clients", id }), ADMIN_TIMEOUT_MS)).flat();
  }

  /** Closes connections, wherever they are. @returns how many */
  async removeClients(removal: Removal): Promise<number> {
    const counts = await this.#askAll<number>((id) => ({ type: "remove", id, removal }), ADMIN_TIMEOUT_MS);
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** Ends all connections, one after the other; that one last. */
  drain(
    withinMs: number,
    { worker: last, connection }: { readonly worker: number; readonly connection: number },
  ): void {
    for (const [id, { worker }] of this.#workers) {
      worker.send({ type: "drain", withinMs, except: id === last ? connection : null });
    }
  }

  /** The answers of every worker that answers in time. */
  async #askAll<T>(question: (id: number) => ToWorker, limitMs: number): Promise<T[]> {
    const asked = [...this.#workers.values()].map(({ worker }) => this.#ask<T>(worker, question, limitMs));
    return (await Promise.all(asked)).filter((answer) => answer !== null);
  }

  #ask<T>(worker: WorkerHandle, question: (id: number) => ToWorker, limitMs: number): Promise<T | null> {
    const id = ++this.#lastQuestion;
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#asked.delete(id);
        resolve(null);
      }, limitMs);
      this.#asked.set(id, (answer: T) => {
        clearTimeout(timer);
        resolve(answer);
      });
      worker.send(question(id));
    });
  }

  #answered(id: number, answer: unknown): void {
    this.#asked.get(id)?.(answer as never);
    this.#asked.delete(id);
  }

  /** For a client here, of another server of the directory. */
  deliver(message: ForPeer, place: ConnectionPlace): void {
    const { elsewhere: _, ...to } = { ...message.to, ...place };
    this.#sendTo(to, { ...message, to });
  }

  #sendTo(callee: Callee, message: ToWorker): void {
    if (callee.elsewhere !== undefined) {
      if (isForPeer(message)) this.#owner.elsewhere(callee.elsewhere.server, message);
      return;
    }
    this.#workers.get(callee.worker)?.worker.send(message);
  }

  #sendLiveWorkers(): void {
    this.broadcast({ type: "owners", owners: this.owners });
  }
}

function forget(member: WorkerState, key: string): void {
  const count = member.origins.get(key);
  if (count === undefined) return;
  member.connections--;
  if (count === 1) member.origins.delete(key);
  else member.origins.set(key, count - 1);
}
