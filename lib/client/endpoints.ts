// Where this client says that it can be reached, and where others can be reached from here.
import { isIPv4 } from "node:net";
import { type ClientEndpoint, type Endpoint, MAX_ENDPOINTS, relayEndpoint, withoutZone } from "../base/endpoint.ts";
import { isLoopback } from "../base/server-address.ts";
import type { DirectoryEntry } from "../directory/entry.ts";
import { isLinkLocal, linkLocalZones } from "../net/own-addresses.ts";
import { listLocal } from "../presence/local-list.ts";

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
  /** The server is on this host. */
  readonly isBesideServer: boolean;
  /** Datagrams may go over the server. */
  readonly canRelay: boolean;
}

/**
 * The endpoints of an entry that can lead to its client from here. Loopback leads to this host whatever the server says, so
 * it counts beside the server only. A link-local address means something on a link: each of ours is tried. Last comes the
 * relay, but not to a client of this host.
 * @param zones interfaces with a link-local address; those of this host unless told otherwise
 */
export function reachableEndpoints(
  entry: DirectoryEntry,
  { isBesideServer, canRelay }: Vantage,
  zones?: readonly string[],
): Endpoint[] {
  const named = entry.endpoints.filter(({ address }) => isBesideServer || !isLoopback(address));
  const direct = withZones(named, zones);
  return canRelay && !isOfThisHost(entry) ? [...direct, relayEndpoint(entry.name)] : direct;
}

/** Link-local endpoints on each link, the others as they are. @param zones see reachableEndpoints() */
export function withZones(endpoints: readonly Endpoint[], zones?: readonly string[]): Endpoint[] {
  const found: Endpoint[] = [];
  for (const { address, port } of endpoints) {
    if (isIPv4(address) || !isLinkLocal(address)) found.push({ address, port });
    else for (const zone of zones ?? linkLocalZones()) found.push({ address: `${address}%${zone}`, port });
  }
  return found.slice(0, MAX_ENDPOINTS);
}

/** By the local table, which its users write themselves: an address alone is another host's too, behind another NAT. */
function isOfThisHost({ name, endpoints }: DirectoryEntry): boolean {
  const ports = endpoints.map(({ port }) => port);
  return listLocal().some((local) => local.name === name && ports.includes(local.port));
}
