// The other servers of a directory that servers share, as the directory states them. Each says of itself where it takes connections of
// servers, and which certificate it shows there and when it connects. Only a server of the directory can write there, and only such servers count.
import { parseServerAddress, type ServerAddress } from "../../base/server-address.ts";

/** What a server says of itself in the directory. */
export interface PeerFacts {
  /** "HOST:PORT" for other servers. */
  readonly peer: string;
  /** "SHA256:…" */
  readonly certificate: string;
}

export interface PeerServer {
  readonly address: ServerAddress;
  readonly certificate: string;
}

/** The facts of each server that is alive, by its name. Asked at each use: servers come and go. */
export type StatedServers = () => ReadonlyMap<string, Readonly<Record<string, unknown>>>;

/** @returns null for a server that states nothing, or nothing that can be understood: it has no link */
export function peerServer(facts: Readonly<Record<string, unknown>> | undefined): PeerServer | null {
  if (typeof facts?.peer !== "string" || typeof facts.certificate !== "string") return null;
  try {
    return { address: parseServerAddress(facts.peer, "peer"), certificate: facts.certificate };
  } catch {
    return null;
  }
}

/** The name of the server that states this certificate. */
export function serverWith(certificate: string, stated: ReturnType<StatedServers>): string | null {
  for (const [server, facts] of stated) if (peerServer(facts)?.certificate === certificate) return server;
  return null;
}
