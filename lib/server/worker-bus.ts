// Routes messages between workers and counts their connections. Runs in the primary.
import type { Socket } from "node:net";
import type { DirectoryEvent } from "../directory/directory.ts";
import type { Callee, ToPrimary, ToWorker, WorkerLoad } from "./messages.ts";

/** A worker, as the primary sees it. */
export interface WorkerHandle {
  readonly id: number;
  send(message: ToWorker): void;
  /** Gives it a connection, for good. @param full see {@link ToWorker} */
  hand(socket: Socket, address: string, full: boolean): void;
  /** Ends it at once. */
  kill(): void;
}

interface WorkerState {
  readonly endpoint: WorkerHandle;
  watching: boolean;
  /** Called when it has reopened its directory, or is gone. */
  onReopened: (() => void) | null;
  /** Open connections by address. */
  readonly addresses: Map<string, number>;
  connections: number;
}

/** Ms that a worker gets to reopen its directory; it takes milliseconds. */
const REOPEN_MS = 2_000;

/** Ms that INFO waits for the counters of a worker that is busy or dying. */
const LOAD_TIMEOUT_MS = 500;

export interface HubOwner {
  /** Clients came or went at worker `id`. */
  changed(id: number, events: readonly DirectoryEvent[]): void;
  /** A worker's process has begun. */
  up(id: number): void;
  /** A worker takes connections. */
  ready(id: number): void;
  workerError(reason: string): void;
  infoText(loads: readonly WorkerLoad[]): string;
}

export class WorkerBus {
  readonly #owner: HubOwner;
  readonly #members = new Map<number, WorkerState>();
  readonly #loads = new Map<number, (load: WorkerLoad) => void>();
  #lastQuestion = 0;

  constructor(owner: HubOwner) {
    this.#owner = owner;
  }

  /** Workers that are alive. */
  get owners(): number[] {
    return [...this.#members.keys()];
  }

  /** Open connections, in all. */
  get connections(): number {
    let sum = 0;
    for (const member of this.#members.values()) sum += member.connections;
    return sum;
  }

  /** Open connections of one worker. */
  connectionsAt(id: number): number {
    return this.#members.get(id)?.connections ?? 0;
  }

  /** Open connections of one address. */
  connectionsOf(address: string): number {
    let sum = 0;
    for (const member of this.#members.values()) sum += member.addresses.get(address) ?? 0;
    return sum;
  }

  add(endpoint: WorkerHandle): void {
    this.#members.set(endpoint.id, {
      endpoint,
      watching: false,
      onReopened: null,
      addresses: new Map(),
      connections: 0,
    });
    this.#tellOwners();
  }

  remove(id: number): void {
    this.#members.get(id)?.onReopened?.();
    if (this.#members.delete(id)) this.#tellOwners();
  }

  /** Gives a connection to a worker. */
  hand(id: number, socket: Socket, address: string, full: boolean): void {
    const member = this.#members.get(id);
    if (member === undefined) {
      socket.destroy();
      return;
    }
    member.connections++;
    member.addresses.set(address, (member.addresses.get(address) ?? 0) + 1);
    member.endpoint.hand(socket, address, full);
  }

  broadcast(message: ToWorker): void {
    for (const { endpoint } of this.#members.values()) endpoint.send(message);
  }

  /** Tells all watchers. */
  announce(events: readonly DirectoryEvent[], except?: number): void {
    for (const [id, member] of this.#members) {
      if (member.watching && id !== except) member.endpoint.send({ type: "events", events });
    }
  }

  /** A worker's message. */
  receive(id: number, message: ToPrimary): void {
    const member = this.#members.get(id);
    if (member === undefined) return;
    switch (message.type) {
      case "up":
        this.#owner.up(id);
        break;
      case "ready":
        this.#owner.ready(id);
        break;
      case "closed":
        forget(member, message.address);
        break;
      case "events":
        this.announce(message.events, id);
        this.#owner.changed(id, message.events);
        break;
      case "watching":
        member.watching = message.on;
        break;
      case "call":
        this.#sendTo(message.to, { type: "call", to: message.to, from: message.from });
        break;
      case "replaced":
        this.#sendTo(message.to, { type: "replaced", to: message.to });
        break;
      case "ask-info":
        void this.loads().then((loads) => {
          member.endpoint.send({ type: "info", id: message.id, text: this.#owner.infoText(loads) });
        });
        break;
      case "load":
        this.#loads.get(message.id)?.(message.load);
        this.#loads.delete(message.id);
        break;
      case "workerError":
        this.#owner.workerError(message.reason);
        break;
      case "reopened":
        member.onReopened?.();
        break;
      case "adopted":
        break; // see worker-process.ts
    }
  }

  /** Lets every worker reopen its directory. Those that do not in time are ended, and others take their place. */
  async reopen(): Promise<void> {
    await Promise.all([...this.#members.values()].map((member) => this.#reopen(member)));
  }

  #reopen(member: WorkerState): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => member.endpoint.kill(), REOPEN_MS);
      member.onReopened = () => {
        clearTimeout(timer);
        member.onReopened = null;
        resolve();
      };
      member.endpoint.send({ type: "reopen" });
    });
  }

  /** The counters of every worker that answers in time. */
  async loads(): Promise<WorkerLoad[]> {
    const asked = [...this.#members.values()].map(({ endpoint }) => this.#load(endpoint));
    return (await Promise.all(asked)).filter((load) => load !== null);
  }

  #load(endpoint: WorkerHandle): Promise<WorkerLoad | null> {
    const id = ++this.#lastQuestion;
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#loads.delete(id);
        resolve(null);
      }, LOAD_TIMEOUT_MS);
      this.#loads.set(id, (load) => {
        clearTimeout(timer);
        resolve(load);
      });
      endpoint.send({ type: "ask-load", id });
    });
  }

  #sendTo(callee: Callee, message: ToWorker): void {
    this.#members.get(callee.worker)?.endpoint.send(message);
  }

  #tellOwners(): void {
    this.broadcast({ type: "owners", owners: this.owners });
  }
}

function forget(member: WorkerState, address: string): void {
  const count = member.addresses.get(address);
  if (count === undefined) return;
  member.connections--;
  if (count === 1) member.addresses.delete(address);
  else member.addresses.set(address, count - 1);
}
