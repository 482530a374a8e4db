// Answers STUN Binding requests at the UDP port that has the TCP port's number, so that clients learn how their chat sockets look
// from here. A socket for each address: the answer has to come from the address that was asked. Runs in the primary.

import type { Endpoint } from "../base/endpoint.ts";
import { isLoopback } from "../base/server-address.ts";
import { DatagramSocket } from "../net/datagram-socket.ts";
import { ownAddresses, watchOwnAddresses } from "../net/own-addresses.ts";
import { decodeBindingRequest, encodeBindingResponse } from "../net/stun.ts";
import type { Log } from "./log.ts";

/** Answers a second, and at once after a pause: 10,000 clients that ask every 20 s. Each is at most 24 bytes longer than its question. */
const ANSWERS_PER_SECOND = 1_000;
const BUFFER_BYTES = 256 * 1024;

export interface StunServerParts {
  /** Where the server listens. */
  readonly host: string;
  readonly port: number;
  readonly log: Log;
  /** A request with a token came from there. */
  readonly onToken: (token: Buffer, seen: Endpoint) => void;
}

export class StunServer {
  readonly #parts: StunServerParts;
  readonly #sockets = new Map<string, DatagramSocket>();
  readonly #watch: Disposable | null;
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
    for (const socket of this.#sockets.values()) socket.close();
    this.#sockets.clear();
  }

  /** One socket for each address that there is now. */
  #open(): void {
    const { host } = this.#parts;
    const wanted = isWildcard(host) ? ownAddresses().filter((address) => fits(host, address)) : [host];
    for (const [address, socket] of this.#sockets) {
      if (wanted.includes(address)) continue;
      socket.close();
      this.#sockets.delete(address);
    }
    for (const address of wanted) if (!this.#sockets.has(address)) this.#openAt(address);
  }

  #openAt(address: string): void {
    const { port, log } = this.#parts;
    try {
      const socket: DatagramSocket = new DatagramSocket(address, port, BUFFER_BYTES, {
        onDatagram: (datagram, from, fromPort) => this.#answer(socket, datagram, { address: from, port: fromPort }),
        onRead: () => {},
        onError: (error) => log.warn("a STUN socket fails", { address, error }),
      });
      this.#sockets.set(address, socket);
    } catch (error) {
      // Link-local addresses need an interface; a taken port is another program's.
      if (!this.#hasFailed && !address.startsWith("fe80")) log.warn("no STUN at this address", { address, error });
      this.#hasFailed = true;
    }
  }

  #answer(socket: DatagramSocket, datagram: Buffer, seen: Endpoint): void {
    const request = decodeBindingRequest(datagram);
    if (request === null || seen.port === 0 || !this.#take()) return;
    socket.send(encodeBindingResponse(request.transaction, seen), seen.address, seen.port);
    if (request.token !== null && !isLoopback(seen.address)) this.#parts.onToken(request.token, seen);
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

const isWildcard = (host: string): boolean => host === "0.0.0.0" || host === "::";
const fits = (host: string, address: string): boolean => host === "::" || !address.includes(":");
