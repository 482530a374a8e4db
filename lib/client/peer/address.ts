// Numeric addresses: one spelling each, so that they can be compared, and IPv4 through a dual-stack socket (RFC 4291
// section 2.5.5.2).
import { isIP, isIPv4, SocketAddress } from "node:net";
import { MAX_PEER_ADDRESSES } from "./limits.ts";
import type { PeerAddress } from "./types.ts";

const MAPPED = "::ffff:";

/** The spelling that the socket reports. Caller has checked that it is a numeric address. */
export function canonicalAddress({ address, port }: PeerAddress): PeerAddress {
  if (isIPv4(address)) return { address, port }; // has one spelling only
  if (address.includes("%")) return { address, port }; // link-local: the scope's name is the system's
  return { address: displayAddress(new SocketAddress({ address, family: "ipv6" }).address), port };
}

/** What a dual-stack socket calls an address, for people and comparisons: IPv4 as IPv4. */
export function displayAddress(address: string): string {
  return address.startsWith(MAPPED) && isIPv4(address.slice(MAPPED.length)) ? address.slice(MAPPED.length) : address;
}

export function sameAddresses(a: readonly PeerAddress[], b: readonly PeerAddress[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    if (a[i]?.port !== b[i]?.port || a[i]?.address !== b[i]?.address) return false;
  }
  return true;
}

/** What is wrong with a peer's addresses, for a person; null when nothing is. */
export function addressProblem(addresses: readonly PeerAddress[]): string | null {
  if (addresses.length < 1 || addresses.length > MAX_PEER_ADDRESSES) {
    return `a peer has 1 to ${MAX_PEER_ADDRESSES} addresses, not ${addresses.length}`;
  }
  for (const { address, port } of addresses) {
    if (!Number.isInteger(port) || port < 1 || port > 65_535) return `${port} is no UDP port`;
    if (isIP(address) === 0) return `${address} is no IP address`;
  }
  return null;
}
