// Where a program receives datagrams: a numeric address and a port. One spelling for each address, so that two can be
// compared as text, and IPv4 through a dual-stack socket as IPv4 (RFC 4291 section 2.5.5.2). Resolves no names.
import { isIP, isIPv4, SocketAddress } from "node:net";

/**
 * How an endpoint is known. "host": an address of the client's own machine. "observed": what the server saw of the client's
 * socket. "relay": the server passes datagrams on.
 */
export type EndpointKind = "host" | "observed" | "relay";

/** A UDP socket's place. `address` is a numeric IPv4 or IPv6 address, never a host name; `port` is 1 to 65535. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** An endpoint as the directory has it. */
export interface ClientEndpoint extends Endpoint {
  readonly kind: EndpointKind;
}

/** Endpoints of one client, at most. */
export const MAX_ENDPOINTS = 8;
export const MAX_PORT = 65_535;

const MAPPED = "::ffff:";

/** IPv4 behind an IPv6 socket is IPv4; everything else stays as it is. */
export function unmapped(address: string): string {
  if (address.length <= MAPPED.length || address.slice(0, MAPPED.length).toLowerCase() !== MAPPED) return address;
  const inner = address.slice(MAPPED.length);
  return isIPv4(inner) ? inner : address;
}

/** Without the zone, which means something on its own machine only (RFC 4007 section 11). */
export function withoutZone(address: string): string {
  const percent = address.indexOf("%");
  return percent === -1 ? address : address.slice(0, percent);
}

/** The spelling that sockets report. Caller has checked that it is a numeric address. */
export function canonicalAddress(address: string): string {
  if (isIPv4(address)) return address; // has one spelling only
  if (address.includes("%")) return address; // link-local: the scope's name is the system's
  return unmapped(new SocketAddress({ address, family: "ipv6" }).address);
}

export function canonicalEndpoint({ address, port }: Endpoint): Endpoint {
  return { address: port === RELAY_PORT ? address : canonicalAddress(address), port };
}

/** No UDP socket has it: an endpoint with this port is a place behind the relay, and its address the relay's word for it. */
const RELAY_PORT = 0;

/** @param place what the relay calls the other end */
export function relayEndpoint(place: string): Endpoint {
  return { address: place, port: RELAY_PORT };
}

/** Straight to an address, or passed on by the server. */
export type PathKind = "direct" | "relay";

export function isRelayed({ port }: Endpoint): boolean {
  return port === RELAY_PORT;
}

export function isSameEndpoint(a: Endpoint, address: string, port: number): boolean {
  return a.port === port && a.address === address;
}

/** Same endpoints in the same order. */
export function areSameEndpoints(a: readonly Endpoint[], b: readonly Endpoint[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    const other = b[i];
    if (other === undefined || !isSameEndpoint(other, (a[i] as Endpoint).address, (a[i] as Endpoint).port))
      return false;
  }
  return true;
}

/** "127.0.0.1:5518", "[::1]:5518", "bob by the relay" */
export function formatEndpoint({ address, port }: Endpoint): string {
  if (port === RELAY_PORT) return `${address} by the relay`;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

// Addresses that name no single host: "this host" (RFC 1122), multicast and reserved (RFC 5771, RFC 1112), broadcast.
const USELESS_IPV4 = /^(0|22[4-9]|2[3-5]\d)\./;
const USELESS_IPV6 = /^(::|ff[0-9a-f]{2}:.*)$/i;

/**
 * Why nothing can be sent there, as a clause; null when something can. An endpoint that a stranger claims must be literal
 * and canonical: `0.0.0.0`, `::` and `::ffff:127.0.0.1` all reach loopback.
 */
export function endpointProblem({ address, port }: Endpoint): string | null {
  if (!Number.isInteger(port) || port < 1 || port > MAX_PORT) return `${port} is no UDP port`;
  const family = isIP(address);
  if (family === 0) return "it is no IPv4 or IPv6 address in numbers";
  if (family === 4) return USELESS_IPV4.test(address) ? "it is not the address of one host" : null;
  if (address.includes("%")) return "it has a zone, which means something on its own machine only";
  if (USELESS_IPV6.test(address)) return "it is not the address of one host";
  return canonicalAddress(address) === address ? null : `its usual spelling is ${canonicalAddress(address)}`;
}

/** 4 or 16 bytes, in the network's order. @param address numeric, without a zone */
export function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split(".").map(Number));
  const [left = "", right] = address.split("::");
  const head = words(left);
  const tail = right === undefined ? [] : words(right);
  const bytes = Buffer.alloc(16);
  for (const [index, word] of head.entries()) bytes.writeUInt16BE(word, 2 * index);
  for (const [index, word] of tail.entries()) bytes.writeUInt16BE(word, 2 * (8 - tail.length + index));
  return bytes;
}

function words(text: string): number[] {
  return text === "" ? [] : text.split(":").map((word) => Number.parseInt(word, 16));
}

/** The usual spelling of 4 or 16 bytes. */
export function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, i) =>
    (((bytes[2 * i] as number) << 8) | (bytes[2 * i + 1] as number)).toString(16),
  );
  return canonicalAddress(groups.join(":"));
}
