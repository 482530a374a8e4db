// Is there a network, and is there a server? The two are told apart: "nobody answers" has other causes than "no way there".
import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { once } from "node:events";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { isLoopback, parseServerAddress } from "../../server-address.ts";
import { type Finding, fail, messageOf, ok, warn } from "./check.ts";

const PATIENCE_MS = 3_000; // for an answer over the network

export function checkInterfaces(): Finding {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
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

/** @param server "HOST:PORT"; `configured` is false for the built-in default, which starts by itself when needed */
export async function checkServer(server: string, configured: boolean): Promise<Finding> {
  const { host, port } = parseServerAddress(server);
  try {
    await lookup(host);
  } catch (error) {
    return fail(
      "server",
      `the name ${host} cannot be resolved: ${messageOf(error)}`,
      "check --server / PTALK_SERVER, or the resolver",
    );
  }
  const socket = connect({ host, port });
  try {
    await once(socket, "connect", { signal: AbortSignal.timeout(PATIENCE_MS) });
    return ok("server", `${server} accepts connections`);
  } catch (error) {
    return unreachable(server, configured, isLoopback(host), error);
  } finally {
    socket.destroy();
  }
}

function unreachable(server: string, configured: boolean, local: boolean, error: unknown): Finding {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ECONNREFUSED" && !configured) {
    return ok("server", `none runs at ${server}: no server, but ptalk NAME starts one`);
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
  const where = local
    ? "something listens but does not answer"
    : "no answer: no network, or a packet filter in between";
  return fail("server", `${server}: ${where} (${messageOf(error)})`, "check the way to it, then the server itself");
}
