// Is there a network, and is there a server? The two are told apart: "nobody answers" has other causes than "no way there".
import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { type NetworkInterfaceInfo, networkInterfaces } from "node:os";
import { TalkError } from "../../base/errors.ts";
import { formatServerAddress, isLoopback, parseServerAddress, parseServerList } from "../../base/server-address.ts";
import { SERVICE_SOCKET } from "../../base/service.ts";
import { ServerConnection } from "../../client/server-connection.ts";
import { fingerprint } from "../../crypto/fingerprint.ts";
import { KnownServers } from "../../store/known-peers.ts";
import type { Config } from "../config.ts";
import { type Finding, fail, messageOf, ok, warn } from "./check.ts";

const PATIENCE_MS = 3_000; // for an answer over the network

export function checkInterfaces(): Finding {
  let addresses: NetworkInterfaceInfo[];
  try {
    addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  } catch (error) {
    return fail(
      "network",
      `the interfaces cannot be listed: ${messageOf(error)}`,
      "allow netlink sockets in the sandbox",
    );
  }
  const beyond = addresses.filter(({ internal }) => !internal).map(({ address }) => address);
  if (beyond.length > 0) return ok("network", beyond.join(", "));
  return warn("network", "loopback only", "people on this machine can talk; for others, connect a network interface");
}

/** Sends a datagram to itself. */
export async function checkUdp(): Promise<Finding> {
  const socket = createSocket("udp4");
  try {
    socket.bind(0, "127.0.0.1");
    await once(socket, "listening");
    const arrived = once(socket, "message", { signal: AbortSignal.timeout(PATIENCE_MS) });
    socket.send("ptalk", socket.address().port, "127.0.0.1");
    await arrived;
    return ok("UDP", "a datagram to 127.0.0.1 arrives");
  } catch (error) {
    return fail(
      "UDP",
      `no datagram gets through loopback: ${messageOf(error)}`,
      "see the packet filter: nft list ruleset",
    );
  } finally {
    socket.close();
  }
}

/** The service that root has installed for everybody. */
export async function checkService(): Promise<Finding> {
  if (!existsSync(SERVICE_SOCKET)) return ok("service", "none on this host: ptalk starts a server of its own");
  const socket = connect({ path: SERVICE_SOCKET });
  try {
    await once(socket, "connect", { signal: AbortSignal.timeout(PATIENCE_MS) });
    return ok("service", SERVICE_SOCKET);
  } catch {
    const what = `the service's socket ${SERVICE_SOCKET} exists, and nobody listens there`;
    return fail(
      "service",
      what,
      "have it started: systemctl start ptalk.socket; or removed, if this host is to have no service",
    );
  } finally {
    socket.destroy();
  }
}

export type ServerSettings = Pick<Config, "server" | "serverConfigured" | "insecure" | "ca" | "stateDir">;

/** Greets each server, as every client begins. Of several one is enough: the others are passed over. */
export async function checkServers(settings: ServerSettings): Promise<Finding[]> {
  const servers = parseServerList(settings.server).map(formatServerAddress);
  const findings = await Promise.all(servers.map((server) => checkServer({ ...settings, server })));
  if (findings.every(({ state }) => state === "fail")) return findings;
  return findings.map((finding) =>
    finding.state === "fail" ? warn(finding.name, finding.detail, finding.advice ?? "") : finding,
  );
}

async function checkServer(settings: ServerSettings): Promise<Finding> {
  const { server } = settings;
  const { host } = parseServerAddress(server);
  try {
    await lookup(host);
  } catch (error) {
    return fail(
      "server",
      `the name ${host} cannot be resolved: ${messageOf(error)}`,
      "check --server / PTALK_SERVER, or the resolver",
    );
  }
  try {
    return ok("server", `${server}: ${await withGreeted(settings, PATIENCE_MS, async (_, shown) => shown)}`);
  } catch (error) {
    return unfriendly(settings, isLoopback(host), error);
  }
}

/** @param use gets the connection, and what the server shows of itself; it has that time. @throws TalkError; of a server that is not trusted, too */
export async function withGreeted<T>(
  { server, insecure, ca, stateDir }: ServerSettings,
  limitMs: number,
  use: (connection: ServerConnection, shown: string) => Promise<T>,
): Promise<T> {
  let certificate: string | undefined;
  const connection = await ServerConnection.open({
    address: parseServerAddress(server),
    insecure,
    ca,
    timeoutMs: PATIENCE_MS,
    checkCertificate: (shown) => {
      certificate = fingerprint(shown);
    },
  });
  const impatient = setTimeout(() => connection.close(), limitMs);
  try {
    const { version } = await connection.hello();
    if (connection.transport === "tls" && ca !== undefined)
      return await use(connection, `ptalk ${version}, TLS, by an authority of ${ca}`);
    if (certificate === undefined) return await use(connection, `ptalk ${version}, plain TCP`);
    new KnownServers(stateDir).check(server, certificate); // not remembered: that is for who talks
    return await use(connection, `ptalk ${version}, TLS, certificate ${certificate}`);
  } finally {
    clearTimeout(impatient);
    connection.close();
  }
}

function unfriendly({ server, serverConfigured }: ServerSettings, local: boolean, error: unknown): Finding {
  const cause = error instanceof TalkError && error.code === "unreachable" ? error.cause : undefined;
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  if (code === "ECONNREFUSED" && !serverConfigured) {
    return ok("server", `none runs at ${server}: no server, but ptalk starts one`);
  }
  if (code === "ECONNREFUSED") {
    return fail(
      "server",
      `no server at ${server}: the host is there and refuses`,
      "start one there: ptalk serve --listen HOST:PORT",
    );
  }
  if (code === "ENETUNREACH" || code === "EHOSTUNREACH" || code === "ENETDOWN" || code === "EADDRNOTAVAIL") {
    return fail(
      "server",
      `no network to ${server}: ${messageOf(error)}`,
      "the server may well run: check cable, Wi-Fi, VPN and routes",
    );
  }
  const what = error instanceof TalkError ? error.code : undefined;
  if (what === "refused") {
    const isPinned = error instanceof TalkError && error.remedy === "forget-certificate";
    const then = isPinned ? `; if so: ptalk key forget ${server}` : "";
    return fail("server", messageOf(error), `ask the server's administrator whether that is so${then}`);
  }
  if (what === "closed") {
    return fail(
      "server",
      `${server}: something takes connections but does not answer`,
      local ? "another program has that port, or the server hangs: see ss -ltnp" : "check the server there",
    );
  }
  if (what !== "unreachable") {
    return fail(
      "server",
      `${server}: no ptalk server answers there (${messageOf(error)})`,
      "another program has that port: see ss -ltnp there, or give the right one with --server",
    );
  }
  return fail(
    "server",
    messageOf(error),
    local
      ? "look at the server's log"
      : "check the way to it, whether it has TLS (if not: --insecure), then the server itself",
  );
}
