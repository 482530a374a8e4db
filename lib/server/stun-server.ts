// Answers STUN Binding requests at the UDP port that has the TCP port's number, so that clients learn how their chat sockets look
// from here. A socket for each address: the answer has to come from the address that was asked. A client of this server may ask for a
// second answer after a silence, and learns so how long the ways to it stay open; or for answers from another port and another address,
// and learns which senders it lets in. Runs in the primary.

import { type Endpoint, withoutZone } from "../base/endpoint.ts";
import { isLoopback } from "../base/server-address.ts";
import type { ConnectionPlace } from "../directory/directory.ts";
import { DatagramSocket } from "../net/datagram-socket.ts";
import { bindableAddresses, isLinkLocal, watchOwnAddresses } from "../net/own-addresses.ts";
import { decodeBindingRequest, encodeBindingResponse } from "../net/stun.ts";
import type { Log } from "./log.ts";

/** Answers a second, and at once after a pause: 10,000 clients that ask every 20 s. Each is at most 24 bytes longer than its question. */
const ANSWERS_PER_SECOND = 1_000;
const BUFFER_BYTES = 256 * 1024;
/** Second answers that wait, one for each connection: 10,000 clients measure for some minutes after they have come. */
const MAX_LATE = 10_000;
/** Milliseconds: longer than the longest silence that a client tries. */
const MAX_LATE_MS = 300_000;

export interface StunServerParts {
  /** Where the server listens. */
  readonly host: string;
  readonly port: number;
  readonly log: Log;
  /** Whose token it is; null: none of this server's. */
  readonly placeOf: (token: Buffer) => ConnectionPlace | null;
  /** The chat socket of that client is seen there. */
  readonly onSeen: (place: ConnectionPlace, seen: Endpoint) => void;
}

export class StunServer {
  readonly #parts: StunServerParts;
  readonly #sockets = new Map<string, DatagramSocket>();
  readonly #watch: Disposable | null;
  /** At another port of each address. */
  readonly #otherPorts = new Map<string, DatagramSocket>();
  readonly #late = new Map<string, NodeJS.Timeout>(); // by the connection's place
  #allowance = ANSWERS_PER_SECOND;
  #at = performance.now();
  #hasFailed = false;

  constructor(parts: StunServerParts) {
    this.#parts = parts;
    this.#open();
    this.#watch = isWildcard(parts.host) ? watchOwnAddresses(() => this.#open()) : null;
  }

  close(): void {
    this.#watch?.[Symbol.dispose]();
    for (const timer of this.#late.values()) clearTimeout(timer);
    this.#late.clear();
    for (const sockets of [this.#sockets, this.#otherPorts]) {
      for (const socket of sockets.values()) socket.close();
      sockets.clear();
    }
  }

  /** One socket for each address that there is now. */
  #open(): void {
    const { host } = this.#parts;
    const wanted = isWildcard(host) ? bindableAddresses().filter((address) => fits(host, address)) : [host];
    for (const [address, socket] of this.#sockets) {
      if (wanted.includes(address)) continue;
      socket.close();
      this.#sockets.delete(address);
      this.#otherPorts.get(address)?.close();
      this.#otherPorts.delete(address);
    }
    for (const address of wanted) if (!this.#sockets.has(address)) this.#openAt(address);
  }

  #openAt(address: string): void {
    const { port, log } = this.#parts;
    try {
      const socket: DatagramSocket = new DatagramSocket(address, port, BUFFER_BYTES, {
        onDatagram: (datagram, from, fromPort) =>
          this.#answer(address, socket, datagram, { address: from, port: fromPort }),
        onRead: () => {},
        onError: (error) => log.warn("a STUN socket fails", { address, error }),
      });
      this.#sockets.set(address, socket);
    } catch (error) {
      // A taken port is another program's. An address that has just come may not be ready: those of a link are the last to be.
      if (!this.#hasFailed && !isLinkLocal(address)) log.warn("no STUN at this address", { address, error });
      this.#hasFailed = true;
    }
  }

  #answer(at: string, socket: DatagramSocket, datagram: Buffer, seen: Endpoint): void {
    const request = decodeBindingRequest(datagram);
    if (request === null || seen.port === 0 || !this.#take()) return;
    const { transaction, token, lateMs, elsewhere } = request;
    const place = token === null ? null : this.#parts.placeOf(token);
    const isLate = place !== null && lateMs !== null && this.#answerLate(socket, place, transaction, seen, lateMs);
    const others = place !== null && elsewhere ? this.#answerElsewhere(at, transaction, seen) : undefined;
    const announced = { lateMs: isLate ? lateMs : undefined, others };
    socket.send(encodeBindingResponse(transaction, seen, announced), seen.address, seen.port);
    // A socket that measures is not the one that others are to reach.
    if (place !== null && lateMs === null && !elsewhere && !isLoopback(seen.address))
      this.#parts.onSeen(place, { address: withoutZone(seen.address), port: seen.port });
  }

  /** @returns from how many places: another port of that address, and another address of its family if there is one */
  #answerElsewhere(at: string, transaction: Buffer, seen: Endpoint): number {
    const [otherAddress] = [...this.#sockets].filter(([one]) => one !== at && isAlike(one, at));
    const sockets = [this.#otherPort(at), otherAddress?.[1]].filter((one) => one !== undefined);
    // Three answers to one question are all that there can be.
    const allowed = sockets.filter(() => this.#take());
    const answer = encodeBindingResponse(transaction, seen);
    for (const socket of allowed) socket.send(answer, seen.address, seen.port);
    return allowed.length;
  }

  #otherPort(address: string): DatagramSocket | undefined {
    const known = this.#otherPorts.get(address);
    if (known !== undefined) return known;
    try {
      const unheard = { onDatagram: () => {}, onRead: () => {}, onError: () => {} };
      const socket = new DatagramSocket(address, 0, BUFFER_BYTES, unheard);
      this.#otherPorts.set(address, socket);
      return socket;
    } catch {
      return undefined; // no descriptor is left, say: there is one answer less
    }
  }

  /** @returns whether there will be a second answer; it takes the place of an earlier one of the same connection */
  #answerLate(
    socket: DatagramSocket,
    { worker, connection }: ConnectionPlace,
    transaction: Buffer,
    seen: Endpoint,
    lateMs: number,
  ): boolean {
    const key = `${worker}.${connection}`;
    if (lateMs > MAX_LATE_MS || (this.#late.size >= MAX_LATE && !this.#late.has(key)) || !this.#take()) return false;
    clearTimeout(this.#late.get(key));
    const answer = (): void => {
      this.#late.delete(key);
      socket.send(encodeBindingResponse(transaction, seen), seen.address, seen.port);
    };
    this.#late.set(key, setTimeout(answer, lateMs).unref());
    return true;
  }

  #take(): boolean {
    const now = performance.now();
    const grown = this.#allowance + ((now - this.#at) / 1000) * ANSWERS_PER_SECOND;
    this.#allowance = Math.min(grown, ANSWERS_PER_SECOND);
    this.#at = now;
    if (this.#allowance < 1) return false;
    this.#allowance--;
    return true;
  }
}

/** Of one family, and both of a link or neither: a way to the one is a way to the other. */
const isAlike = (a: string, b: string): boolean =>
  a.includes(":") === b.includes(":") && isLinkLocal(a) === isLinkLocal(b);
const isWildcard = (host: string): boolean => host === "0.0.0.0" || host === "::";
const fits = (host: string, address: string): boolean => host === "::" || !address.includes(":");
