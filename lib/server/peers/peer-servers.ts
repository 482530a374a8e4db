// The other servers of a directory that servers share, as the directory states them. Each says of itself where it takes connections of
// servers, and which certificate it shows there and when it connects; and what its clients have to know. Only a server of the directory can
// write there, and only such servers count.
import { isFingerprint } from "../../base/fingerprint-text.ts";
import { isLoopback, MAX_SERVERS, parseServerAddress, type ServerAddress } from "../../base/server-address.ts";
import { decodeBase64, KEY_BYTES } from "../../crypto/signed-statements.ts";

/** What a server says of itself in the directory. */
export interface PeerFacts {
  /** "HOST:PORT" for other servers. */
  readonly peer: string;
  /** "SHA256:…" */
  readonly certificate: string;
}

/** What it says for clients, which the other servers tell theirs. */
export interface ClientFacts {
  /** "HOST:PORT" */
  readonly client: string;
  /** "SHA256:…" of the certificate that clients see; null: it is a plain server. */
  readonly tls: string | null;
  /** Its own public key, base64. */
  readonly key: string;
  /** Of its host: a loopback address counts there. */
  readonly host: string;
}

/** What a client needs to use a server: its address, the fingerprint of its certificate, if it has one, and its key. */
export type ToldServer = readonly [address: string, certificate: string | null, key: string];

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

/** In the order of the servers' names, as many as a client may name itself. @param host of this server */
export function toldServers(stated: ReturnType<StatedServers>, host: string): ToldServer[] {
  const servers = [...stated].sort(([a], [b]) => (a < b ? -1 : 1));
  return servers.flatMap(([, facts]) => toldServer(facts, host) ?? []).slice(0, MAX_SERVERS);
}

/** One element, or none for a server that says nothing that a client of this host could use. */
function toldServer({ client, tls, key, host }: Readonly<Record<string, unknown>>, own: string): ToldServer[] | null {
  if (typeof client !== "string" || typeof key !== "string" || decodeBase64(key, KEY_BYTES) === null) return null;
  if (tls !== null && !isFingerprint(tls)) return null;
  try {
    const address = parseServerAddress(client, "client");
    return isLoopback(address.host) && host !== own ? null : [[client, tls, key]];
  } catch {
    return null;
  }
}
