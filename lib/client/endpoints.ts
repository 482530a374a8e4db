// Where this client says that it can be reached, and where others can be reached from here.
import { isIPv4 } from "node:net";
import { type ClientEndpoint, type Endpoint, MAX_ENDPOINTS, withoutZone } from "../base/endpoint.ts";
import { isLoopback } from "../base/server-address.ts";
import type { DirectoryEntry } from "../directory/entry.ts";
import { isLinkLocal, linkLocalZones } from "../net/own-addresses.ts";

export interface OwnPlace {
  /** UDP port of the chat socket. */
  readonly port: number;
  /** This host's address on the way to the server. */
  readonly local: string;
  /** The client's address as the server sees it; null over a Unix socket. */
  readonly seen: string | null;
  /** Of this host, the preferred ones first. */
  readonly own: readonly string[];
}

/**
 * What a client registers that clients of other hosts are to reach: the server's view of it, where that is none of its own
 * addresses (a NAT that keeps ports is passed so), the address on the way to the server, then all others. Empty: it has no
 * address but loopback, and the server notes that.
 */
export function ownEndpoints({ port, local, seen, own }: OwnPlace): ClientEndpoint[] {
  const addresses = [local, ...own].map(withoutZone).filter((address) => !isLoopback(address));
  if (seen !== null && !isLoopback(seen) && !addresses.includes(seen)) addresses.unshift(seen);
  return [...new Set(addresses)].slice(0, MAX_ENDPOINTS).map((address) => ({ address, port, kind: "host" }));
}

export interface Vantage {
  /** The server is on this host, or speaks through a forwarder on it. */
  readonly isBesideServer: boolean;
}

/**
 * The endpoints of an entry that can lead to its client from here. Loopback leads to this host whatever the server says, so
 * it counts beside the server only. A link-local address means something on a link: each of ours is tried.
 * @param zones interfaces with a link-local address; those of this host unless told otherwise
 */
export function reachableEndpoints(
  { endpoints }: DirectoryEntry,
  { isBesideServer }: Vantage,
  zones?: readonly string[],
): Endpoint[] {
  const found: Endpoint[] = [];
  for (const { address, port } of endpoints) {
    if (isLoopback(address) && !isBesideServer) continue;
    if (isIPv4(address) || !isLinkLocal(address)) found.push({ address, port });
    else for (const zone of zones ?? linkLocalZones()) found.push({ address: `${address}%${zone}`, port });
  }
  return found.slice(0, MAX_ENDPOINTS);
}
