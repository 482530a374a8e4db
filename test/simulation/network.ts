// The network of a simulated world: datagrams that get lost, late, doubled and out of order; streams that stall and break; machines between
// which nothing passes for a while. What a process has under way when it is killed, its kernel ends.
import { EventEmitter } from "node:events";
import type { Process, World } from "./world.ts";

export interface Weather {
  /** Of datagrams. */
  readonly loss: number;
  readonly doubled: number;
  /** Ms: the least, and how much more it may be. */
  readonly delayMs: number;
  readonly jitterMs: number;
}

export const FAIR: Weather = { loss: 0, doubled: 0, delayMs: 0.3, jitterMs: 0.4 };

/** tcp(7): what is unacknowledged for so long ends the connection, as ptalk's servers ask for it. */
const USER_TIMEOUT_MS = 20_000;
/** Between two attempts to reach a machine that does not answer. */
const SYN_RETRY_MS = 1_000;
/** Datagrams that wait for a program that does not read. */
const BUFFERED = 256;
const [FIRST_PORT, PORTS] = [32_768, 28_000];
const [ECONNREFUSED, ECONNRESET, ETIMEDOUT] = ["ECONNREFUSED", "ECONNRESET", "ETIMEDOUT"];
export const REFUSED_ERRNO = 111;

export interface Datagram {
  readonly bytes: Buffer;
  readonly address: string;
  readonly port: number;
}

export class UdpSocket {
  readonly owner: Process;
  readonly address: string;
  readonly port: number;
  readonly waiting: Datagram[] = [];
  /** Ports that nobody has, as ICMP says. */
  readonly refused: Datagram[] = [];
  isReading = false;
  onReadable: () => void = () => {};

  constructor(owner: Process, port: number) {
    this.owner = owner;
    this.address = owner.address;
    this.port = port;
  }
}

interface Listener {
  readonly owner: Process;
  readonly accept: (socket: StreamSocket) => void;
}

export class Network {
  readonly world: World;
  weather: Weather = FAIR;
  /** Whether datagrams and streams get from one address to the other. */
  passes: (from: string, to: string) => boolean = () => true;
  datagrams = 0;
  readonly #udp = new Map<string, UdpSocket>();
  readonly #listeners = new Map<string, Listener>();
  readonly #streams = new Set<StreamSocket>();

  constructor(world: World) {
    this.world = world;
  }

  delay(): number {
    const { delayMs, jitterMs } = this.weather;
    const { random } = this.world;
    // Now and then one is much later than those behind it.
    return delayMs + random.next() * jitterMs * (random.chance(0.02) ? 20 : 1);
  }

  /** Of the current process. */
  bind(port: number): UdpSocket | null {
    const owner = this.world.current;
    if (owner === null) throw new Error("no process binds this socket");
    let free = port;
    while (free === 0 || (port === 0 && this.#udp.has(`${owner.address}:${free}`))) {
      free = FIRST_PORT + this.world.inner.below(PORTS);
    }
    const at = `${owner.address}:${free}`;
    if (this.#udp.has(at)) return null;
    const socket = new UdpSocket(owner, free);
    this.#udp.set(at, socket);
    return socket;
  }

  unbind(socket: UdpSocket): void {
    const at = `${socket.address}:${socket.port}`;
    if (this.#udp.get(at) === socket) this.#udp.delete(at);
  }

  send(from: UdpSocket, bytes: Buffer, address: string, port: number): void {
    this.datagrams++;
    const { random } = this.world;
    const copies = random.chance(this.weather.loss) ? 0 : random.chance(this.weather.doubled) ? 2 : 1;
    const datagram = { bytes, address: from.address, port: from.port };
    for (let i = 0; i < copies; i++) {
      this.world.after(this.delay(), null, () => this.#arrive(from, datagram, address, port));
    }
  }

  #arrive(from: UdpSocket, datagram: Datagram, address: string, port: number): void {
    if (!this.passes(from.address, address)) return;
    const socket = this.#udp.get(`${address}:${port}`);
    if (socket === undefined) {
      const { bytes } = datagram;
      this.world.after(this.delay(), null, () => {
        if (!this.passes(address, from.address) || from.owner.isDead || from.refused.length >= BUFFERED) return;
        from.refused.push({ bytes, address, port });
        this.#wake(from);
      });
      return;
    }
    if (socket.waiting.length >= BUFFERED) return;
    socket.waiting.push(datagram);
    this.#wake(socket);
  }

  /** The event loop of its program finds it readable. */
  #wake(socket: UdpSocket): void {
    if (socket.isReading) return;
    socket.isReading = true;
    this.world.after(0, socket.owner, () => {
      socket.isReading = false;
      socket.onReadable();
    });
  }

  listen(owner: Process, port: number, accept: (socket: StreamSocket) => void): void {
    this.#listeners.set(`${owner.address}:${port}`, { owner, accept });
  }

  /** Of the current process: "connect" or "error" follows. */
  connect(address: string, port: number): StreamSocket {
    const owner = this.world.current;
    if (owner === null) throw new Error("no process opens this connection");
    const own = FIRST_PORT + this.world.inner.below(PORTS);
    const socket = new StreamSocket(this, owner, { address: owner.address, port: own }, { address, port });
    this.#streams.add(socket);
    this.world.after(this.delay(), null, () => this.#arriveSyn(socket));
    return socket;
  }

  #arriveSyn(socket: StreamSocket): void {
    const { owner, local, remote, world } = socket;
    if (owner.isDead || socket.destroyed) return;
    if (!this.passes(local.address, remote.address)) {
      world.after(SYN_RETRY_MS, null, () => this.#arriveSyn(socket));
      return;
    }
    const listener = this.#listeners.get(`${remote.address}:${remote.port}`);
    if (listener === undefined || listener.owner.isDead) {
      world.after(this.delay(), owner, () => socket.destroy(systemError(ECONNREFUSED, "connect")));
      return;
    }
    const other = new StreamSocket(this, listener.owner, remote, local);
    this.#streams.add(other);
    socket.peer = other;
    other.peer = socket;
    // The kernel takes it, whether or not the program comes to accept it.
    world.after(0, listener.owner, () => listener.accept(other));
    world.after(this.delay(), owner, () => {
      if (!socket.destroyed) socket.emit("connect");
    });
  }

  forget(socket: StreamSocket): void {
    this.#streams.delete(socket);
  }

  /** Its kernel closes what it had open. */
  kill(process: Process): void {
    process.isDead = true;
    process.endedAt = Math.min(process.endedAt, this.world.now);
    for (const [at, socket] of this.#udp) if (socket.owner === process) this.#udp.delete(at);
    for (const [at, { owner }] of this.#listeners) if (owner === process) this.#listeners.delete(at);
    for (const socket of [...this.#streams]) if (socket.owner === process) socket.die();
  }

  /** The way is open again, or another: what had stalled goes on. */
  retry(): void {
    for (const socket of [...this.#streams]) socket.retry();
  }
}

export interface Place {
  readonly address: string;
  readonly port: number;
}

type Segment = { readonly bytes: Buffer } | "end" | "reset";

/** What of net.Socket the client and the server use. */
export class StreamSocket extends EventEmitter {
  readonly network: Network;
  readonly world: World;
  readonly owner: Process;
  readonly local: Place;
  readonly remote: Place;
  peer: StreamSocket | null = null;
  destroyed = false;
  readableEnded = false;
  bytesWritten = 0;
  allowHalfOpen = false;
  readonly writableNeedDrain = false;
  readonly writableLength = 0;
  readonly #corked: Buffer[] = [];
  #isCorked = false;
  #isEnded = false;
  /** As a stream's: null before anybody has said. */
  #flowing: boolean | null = null;
  readonly #unread: Segment[] = [];
  /** Of what the other end sends: nothing overtakes. */
  #lastArrival = 0;
  readonly #stalled: Segment[] = [];
  #stalledSince = Number.POSITIVE_INFINITY;

  constructor(network: Network, owner: Process, local: Place, remote: Place) {
    super();
    this.network = network;
    this.world = network.world;
    this.owner = owner;
    this.local = local;
    this.remote = remote;
  }

  get localAddress(): string {
    return this.local.address;
  }
  get localPort(): number {
    return this.local.port;
  }
  get remoteAddress(): string {
    return this.remote.address;
  }
  get remotePort(): number {
    return this.remote.port;
  }
  setNoDelay(): this {
    return this;
  }
  setKeepAlive(): this {
    return this;
  }
  ref(): this {
    return this;
  }
  unref(): this {
    return this;
  }

  override on(event: string, listener: (...args: never[]) => void): this {
    super.on(event, listener as (...args: unknown[]) => void);
    if (event === "data" && this.#flowing === null) this.resume();
    return this;
  }

  resume(): this {
    this.#flowing = true;
    if (this.#unread.length > 0) this.world.after(0, this.owner, () => this.#readOn());
    return this;
  }
  pause(): this {
    this.#flowing = false;
    return this;
  }

  cork(): void {
    this.#isCorked = true;
  }
  uncork(): void {
    this.#isCorked = false;
    const [first] = this.#corked;
    if (first === undefined) return;
    const bytes = this.#corked.length === 1 ? first : Buffer.concat(this.#corked);
    this.#corked.length = 0;
    this.#send({ bytes });
  }

  write(bytes: Uint8Array | string): boolean {
    if (this.destroyed || this.#isEnded) return false;
    const copy = Buffer.from(bytes as Uint8Array);
    this.bytesWritten += copy.length;
    if (this.#isCorked) this.#corked.push(copy);
    else this.#send({ bytes: copy });
    return true;
  }

  end(): this {
    if (this.destroyed || this.#isEnded) return this;
    this.uncork();
    this.#isEnded = true;
    this.#send("end");
    if (this.readableEnded) this.destroy();
    return this;
  }

  destroy(error?: Error): this {
    if (this.destroyed) return this;
    this.destroyed = true;
    this.network.forget(this);
    if (!this.#isEnded) this.#send(error === undefined ? "end" : "reset");
    this.#isEnded = true;
    // As in Node, a moment later, and an error first.
    this.world.after(0, this.owner, () => {
      if (error !== undefined && this.listenerCount("error") > 0) this.emit("error", error);
      this.emit("close", error !== undefined);
    });
    return this;
  }

  /** With its process: the kernel says goodbye. */
  die(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.network.forget(this);
    if (!this.#isEnded) this.#send("end");
    this.#isEnded = true;
  }

  #send(segment: Segment): void {
    this.peer?.arriveLater(segment);
  }

  arriveLater(segment: Segment): void {
    const at = Math.max(this.#lastArrival, this.world.now + this.network.delay());
    this.#lastArrival = at;
    this.world.after(at - this.world.now, null, () => this.#arrive(segment));
  }

  #arrive(segment: Segment): void {
    const isCut = !this.network.passes(this.remote.address, this.local.address);
    if (isCut || this.#stalled.length > 0) {
      this.#stalled.push(segment);
      if (this.#stalled.length > 1) return;
      this.#stalledSince = this.world.now;
      this.world.after(USER_TIMEOUT_MS, null, () => this.#giveUp());
      return;
    }
    this.#take(segment);
  }

  retry(): void {
    if (this.#stalled.length === 0 || !this.network.passes(this.remote.address, this.local.address)) return;
    for (const segment of this.#stalled.splice(0)) this.#take(segment);
  }

  /** The other end's kernel waits no longer for this one's to acknowledge. */
  #giveUp(): void {
    if (this.#stalled.length === 0 || this.world.now - this.#stalledSince < USER_TIMEOUT_MS) return;
    const { peer } = this;
    if (peer !== null && !peer.destroyed) {
      this.world.after(0, peer.owner, () => peer.destroy(systemError(ETIMEDOUT, "read")));
    }
  }

  #take(segment: Segment): void {
    if (this.destroyed) {
      // A process that has closed the socket answers what still comes with a reset.
      const { peer } = this;
      if (segment !== "reset" && segment !== "end" && peer !== null && !peer.destroyed) {
        this.world.after(this.network.delay(), peer.owner, () => peer.destroy(systemError(ECONNRESET, "read")));
      }
      return;
    }
    this.#unread.push(segment);
    this.world.after(0, this.owner, () => this.#readOn());
  }

  #readOn(): void {
    while (this.#flowing === true && !this.destroyed) {
      const segment = this.#unread.shift();
      if (segment === undefined) return;
      if (segment === "reset") {
        this.destroy(systemError(ECONNRESET, "read"));
      } else if (segment === "end") {
        this.readableEnded = true;
        this.emit("end");
        if (!this.allowHalfOpen || this.#isEnded) this.destroy();
      } else {
        this.emit("data", segment.bytes);
      }
    }
  }
}

function systemError(code: string, call: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${call} ${code}`), { code, syscall: call });
}
