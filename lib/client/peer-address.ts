// Numeric addresses: one spelling each, so that they can be compared, and IPv4 through a dual-stack socket (RFC 4291
// section 2.5.5.2).
import { isIP, isIPv4, SocketAddress } from "node:net";
import type { PeerAddress } from "./peer-types.ts";

const MAPPED = "::ffff:";

/** The spelling that the socket reports; `address` is empty when it is no numeric address. */
export function canonicalAddress({ address, port }: PeerAddress): PeerAddress {
  if (isIPv4(address)) return { address, port }; // has one spelling only
  if (isIP(address) === 0) return { address: "", port };
  if (address.includes("%")) return { address, port }; // link-local: the scope's name is the system's
  return { address: displayAddress(new SocketAddress({ address, family: "ipv6" }).address), port };
}

/** What a dual-stack socket calls an address, for people and comparisons: IPv4 as IPv4. */
export function displayAddress(address: string): string {
  return address.startsWith(MAPPED) && isIPv4(address.slice(MAPPED.length)) ? address.slice(MAPPED.length) : address;
}

/** What the socket wants to hear. */
export function socketAddress(address: string, isIPv6Socket: boolean): string {
  return isIPv6Socket && !address.includes(":") ? MAPPED + address : address;
}
