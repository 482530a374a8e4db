// Whose sockets listen on a port: what sock_diag says, what /proc says, and which of them a connection reaches.
import { once } from "node:events";
import { type AddressInfo, createServer, type Server } from "node:net";
import { afterEach, expect, it } from "vitest";
import { holderOfSocket, listenersOn, listeningByProc } from "../../lib/ipc/listeners.ts";
import { native } from "../../lib/native.ts";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

async function listen(host: string, port = 0): Promise<number> {
  const server = createServer().listen({ host, port, ipv6Only: host === "::1" });
  servers.push(server);
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

const hasIPv6 = await listen("::1").then(
  () => true,
  () => false,
);

it.each(["127.0.0.1", ...(hasIPv6 ? ["::1"] : [])])(
  "names the owner and the socket at %s, and its process",
  async (host) => {
    const port = await listen(host);
    const found = listenersOn(host, port);
    expect(found).toEqual([{ uid: process.geteuid?.(), inode: expect.any(Number) }]);
    expect(holderOfSocket(found[0]?.inode ?? 0)).toBe(process.pid);
    servers.at(-1)?.close();
    expect(listenersOn(host, port)).toEqual([]);
  },
);

it("takes the exact address before all addresses, and no other one", async () => {
  const port = await listen("127.0.0.2");
  expect(listenersOn("127.0.0.1", port)).toEqual([]);
  await listen("0.0.0.0", port + 1).then(
    () => {
      expect(listenersOn("127.0.0.1", port + 1)).toHaveLength(1);
      expect(listenersOn("192.0.2.1", port + 1)).toEqual([]); // another address: the kernel does not say whether it is this host's
    },
    () => {}, // another program has that port
  );
});

it("hears the same from sock_diag and from /proc", async () => {
  const port = await listen("127.0.0.1");
  expect(native.tcpListeners(false, port)).toEqual(listeningByProc("tcp", port));
  expect(native.tcpListeners(true, port)).toEqual(listeningByProc("tcp6", port));
  if (!hasIPv6) return;
  const other = await listen("::1");
  expect(native.tcpListeners(true, other)).toHaveLength(1);
  expect(native.tcpListeners(true, other)).toEqual(listeningByProc("tcp6", other));
});
