// Which ways lead to others from here: how this host looks from the server, and, to one peer, each way that it has registered.
//  1. STUN against the server, at each of its addresses, from one socket: does UDP pass, is there a NAT, does its mapping depend on
//     the address (RFC 4787 section 4.1)? A server with one address cannot tell that. Then it answers from elsewhere, too: whom does a NAT
//     or a firewall let in (section 5)?
//  2. A handshake with the peer at each of its endpoints, without a message: only the holder of its key can answer.
import { randomBytes } from "node:crypto";
import { lookup } from "node:dns/promises";
import { constants } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { type Endpoint, formatEndpoint, isSameEndpoint } from "../../base/endpoint.ts";
import { isLoopback, parseServerList, type ServerAddress } from "../../base/server-address.ts";
import { reachableEndpoints } from "../../client/endpoints.ts";
import { ServerConnection } from "../../client/server-connection.ts";
import { Identity } from "../../crypto/identity.ts";
import type { DirectoryEntry } from "../../directory/entry.ts";
import { DatagramSocket } from "../../net/datagram-socket.ts";
import { ownAddresses } from "../../net/own-addresses.ts";
import { answersElsewhere, decodeBindingResponse, encodeBindingRequest, TRANSACTION_BYTES } from "../../net/stun.ts";
import { PeerTransport } from "../../peer/transport.ts";
import type { Config } from "../config.ts";
import { withDirectory } from "../connect.ts";
import { type Finding, fail, messageOf, ok, warn } from "./check.ts";

const STUN_TRIES = 4;
const STUN_TRY_MS = 400;
const REACH_MS = 2_000;
const BUFFER_BYTES = 65_536;

type Settings = Pick<Config, "server" | "serverConfigured" | "insecure" | "ca" | "stateDir" | "relay" | "timeout">;

interface Greeted {
  readonly address: ServerAddress;
  readonly relays: boolean;
  readonly endpoint: Endpoint | null;
  /** For what the server does for its own clients only, see lib/net/stun.ts. */
  readonly token: Buffer | null;
}

/** The first server that answers. */
async function firstGreeted(settings: Settings): Promise<Greeted | null> {
  for (const address of parseServerList(settings.server)) {
    const greeted = await greet(settings, address);
    if (greeted !== null) return greeted;
  }
  return null;
}

/** What the server says of itself; null when it does not answer, which checkServers() tells of. */
async function greet({ insecure, ca }: Settings, address: ServerAddress): Promise<Greeted | null> {
  try {
    const connection = await ServerConnection.open({
      address,
      insecure,
      ca,
      timeoutMs: REACH_MS,
      checkCertificate: () => {},
    });
    const impatient = setTimeout(() => connection.close(), REACH_MS);
    try {
      const { relays, token } = await connection.hello();
      return { address, relays, token, endpoint: connection.serverEndpoint };
    } finally {
      clearTimeout(impatient);
      connection.close();
    }
  } catch {
    return null;
  }
}

/** UDP as the server sees it, and its relay. Nothing where the server does not answer, or is on this host. */
export async function checkPaths(settings: Settings): Promise<Finding[]> {
  const greeting = await firstGreeted(settings);
  if (greeting === null) return [];
  const relay = relayFinding(settings, greeting.relays);
  const { host, port } = greeting.address;
  if (greeting.endpoint === null || isLoopback(host)) return [relay];
  const addresses = (await lookup(host, { all: true }).catch(() => [])).map(({ address }) => address);
  const mapping = await checkMapping(addresses, port, greeting.relays && settings.relay);
  const filter = mapping.state === "fail" ? null : await checkFilter(greeting.endpoint, greeting.token);
  return [mapping, ...(filter === null ? [] : [filter]), relay];
}

/** Whom a NAT or a firewall lets in to a socket that has written to the server. Null: the server does not tell, or does not answer. */
async function checkFilter(server: Endpoint, token: Buffer | null): Promise<Finding | null> {
  if (token === null) return null;
  const transaction = randomBytes(TRANSACTION_BYTES);
  let others: number | null = null;
  let [otherPort, otherAddress] = [false, false];
  const socket = new DatagramSocket(server.address.includes(":") ? "::" : "0.0.0.0", 0, BUFFER_BYTES, {
    onDatagram: (datagram, from, port) => {
      if (decodeBindingResponse(datagram, transaction) === null) return;
      if (isSameEndpoint(server, from, port)) others ??= answersElsewhere(datagram);
      else if (from === server.address) otherPort = true;
      else otherAddress = true;
    },
    onRead: () => {},
    onError: () => {},
  });
  try {
    const request = encodeBindingRequest(transaction, token, { elsewhere: true });
    for (let i = 0; i < STUN_TRIES && !otherAddress; i++) {
      socket.send(request, server.address, server.port);
      await sleep(STUN_TRY_MS / (i === 0 ? 4 : 1));
    }
  } finally {
    socket.close();
  }
  const isKnown = others !== null && others > 0;
  if (!isKnown) return null;
  if (otherAddress) return ok("UDP filter", "none: others reach this host unasked");
  if (otherPort && others === 1) return ok("UDP filter", "none, or by address: the server has only one to try it with");
  if (otherPort) return ok("UDP filter", "by address: datagrams come in from addresses that this host has written to");
  return ok(
    "UDP filter",
    "by address and port: datagrams come in from the very ports that this host has written to; ptalk opens the way",
  );
}

function relayFinding({ relay }: Settings, isThere: boolean): Finding {
  if (!isThere) {
    return warn(
      "relay",
      "the server passes nothing on",
      "where no direct path leads, nothing arrives: ptalk serve without --no-relay",
    );
  }
  if (relay) return ok("relay", "the server passes sealed datagrams on where no direct path leads");
  return warn("relay", "turned off here", "where no direct path leads, nothing arrives: relay = true");
}

async function checkMapping(addresses: readonly string[], port: number, hasRelay: boolean): Promise<Finding> {
  const instead = hasRelay
    ? "the relay serves instead"
    : "and there is no relay: nothing arrives from beyond this network";
  let socket: DatagramSocket | undefined;
  const answers = new Map<string, Endpoint>();
  let errno = 0;
  const transaction = randomBytes(TRANSACTION_BYTES);
  try {
    socket = new DatagramSocket(
      addresses.some((address) => address.includes(":")) ? "::" : "0.0.0.0",
      0,
      BUFFER_BYTES,
      {
        onDatagram: (datagram, from) => {
          const seen = decodeBindingResponse(datagram, transaction);
          if (seen !== null) answers.set(from, seen);
        },
        onRead: () => {},
        onError: () => {},
      },
    );
    for (let i = 0; i < STUN_TRIES && answers.size < addresses.length; i++) {
      for (const address of addresses) errno = socket.send(encodeBindingRequest(transaction), address, port) || errno;
      await sleep(STUN_TRY_MS / (i === 0 ? 4 : 1));
    }
    const local = socket.port;
    const seen = [...answers.values()];
    if (seen.length === 0) return blocked(errno, port, instead);
    const isSame = seen.every((one) => one.port === local && ownAddresses().includes(one.address));
    const shown = seen.map(formatEndpoint).join(", ");
    if (isSame) return ok("UDP beyond", `no NAT: the server sees ${shown}`);
    const families = (family: 4 | 6) => seen.filter(({ address }) => address.includes(":") === (family === 6));
    const depends = [families(4), families(6)].some((same) => new Set(same.map(({ port: one }) => one)).size > 1);
    if (depends) {
      const what = `a NAT whose mapping depends on the address: the server sees ${shown}`;
      return warn("UDP beyond", what, `only hosts that let everybody in are reached directly; to others ${instead}`);
    }
    const known = families(4).length > 1 || families(6).length > 1;
    const how = known
      ? "its mapping does not depend on the address"
      : "the server has one address, so what its mapping depends on is not known";
    return ok("UDP beyond", `a NAT: the server sees ${shown} for port ${local}; ${how}`);
  } catch (error) {
    return fail("UDP beyond", messageOf(error), "see the packet filter: nft list ruleset");
  } finally {
    socket?.close();
  }
}

function blocked(errno: number, port: number, instead: string): Finding {
  if (errno === constants.errno.EPERM) {
    return warn(
      "UDP beyond",
      "a firewall of this host forbids sending UDP",
      `allow outgoing UDP; until then ${instead}`,
    );
  }
  const what = `no answer to STUN from the server's UDP port ${port}: UDP is blocked on the way, or at the server`;
  return warn("UDP beyond", what, `open UDP, this port at the server and any between clients; until then ${instead}`);
}

/** Each way that leads to the peer, as far as it can be tried without a message. */
export async function checkPeer(settings: Config, peer: string): Promise<Finding[]> {
  let entry: DirectoryEntry | null;
  try {
    entry = await withDirectory(settings, (directory) => directory.lookup(peer));
  } catch (error) {
    return [fail("peer", messageOf(error), "mend the server first: without it no user can be found")];
  }
  if (entry === null)
    return [fail("peer", `nobody is on as ${peer}`, `leave a message: ptalk send --leave ${peer} TEXT`)];
  const listed = entry.endpoints.map((one) => `${formatEndpoint(one)} (${one.kind})`).join(", ");
  const findings = [ok("peer", `${entry.name} on ${entry.host || "an unnamed host"}, registered at ${listed}`)];
  const isBeside = parseServerList(settings.server).every(({ host }) => isLoopback(host));
  const ways = reachableEndpoints(entry, { isBesideServer: isBeside, canRelay: false });
  const key = Buffer.from(entry.key, "base64");
  const tried = await Promise.all(ways.map(async (way) => ({ way, ms: await reach(key, way) })));
  const direct = tried.some(({ ms }) => ms !== null);
  for (const { way, ms } of tried) {
    const name = `path ${formatEndpoint(way)}`;
    if (ms !== null) findings.push(ok(name, `answers with ${entry.name}'s key, in ${Math.round(ms)} ms`));
    else if (direct) findings.push(ok(name, "no answer; another path serves"));
    else findings.push(warn(name, "no answer", unanswered(settings.relay)));
  }
  if (ways.length === 0)
    findings.push(warn("path", "none of its addresses can be reached from here", unanswered(settings.relay)));
  return findings;
}

const unanswered = (relay: boolean): string =>
  `a NAT or firewall there lets in only whom it expects: a message asks for that${relay ? ", and goes over the relay otherwise" : ""}`;

/** Milliseconds to an answer that only the key's holder can give, null without one. */
async function reach(key: Buffer, endpoint: Endpoint): Promise<number | null> {
  const transport = await PeerTransport.open({ identity: Identity.generate() });
  const start = performance.now();
  try {
    const peer = { key, endpoints: [endpoint] };
    transport.invite(peer);
    while (performance.now() - start < REACH_MS) {
      if (transport.hasSession(peer)) return performance.now() - start;
      await sleep(5);
    }
    return null;
  } finally {
    await transport.close({ timeoutMs: 0 });
  }
}
