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
  return { address: canonicalAddress(address), port };
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

/** "127.0.0.1:5518", "[::1]:5518" */
export function formatEndpoint({ address, port }: Endpoint): string {
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
