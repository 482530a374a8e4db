// Where a client says that it can be reached: beside a server that other hosts use, and when its addresses change.
import { mkdtempSync, rmSync } from "node:fs";
import type { NetworkInterfaceInfo } from "node:os";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { ownEndpoints, reachableEndpoints } from "../../lib/client/endpoints.ts";
import { orderedAddresses } from "../../lib/net/own-addresses.ts";
import { entryOf } from "../helpers/entries.ts";
import { onFreshHost, whyNoHosts } from "../helpers/host.ts";
import type { Program } from "../helpers/program.ts";

const script = join(import.meta.dirname, "../fixtures/hosts/endpoints.js");
const tmp = mkdtempSync(join(tmpdir(), "ptalk-hosts-"));
let host: Program | undefined;
afterEach(() => host?.kill());
afterAll(() => rmSync(tmp, { recursive: true, force: true }));

const on = (address: string, internal = false) =>
  ({ address, family: address.includes(":") ? "IPv6" : "IPv4", internal }) as NetworkInterfaceInfo;

describe("own addresses", () => {
  it("begin with one of each family on the default route, and end with those of the link; loopback is none", () => {
    const interfaces = {
      lo: [on("127.0.0.1", true), on("::1", true)],
      docker0: [on("172.17.0.1")],
      eth0: [on("10.0.0.5"), on("10.0.0.6"), on("2001:db8::5"), on("fe80::5")],
      wlan0: [on("192.0.2.7"), on("fe80::7"), on("169.254.3.4")],
    };
    const rest = ["172.17.0.1", "10.0.0.6", "192.0.2.7", "fe80::5", "fe80::7", "169.254.3.4"];
    expect(orderedAddresses(interfaces, ["eth0"])).toEqual(["10.0.0.5", "2001:db8::5", ...rest]);
    expect(orderedAddresses(interfaces, ["wlan0", "eth0"]).slice(0, 3)).toEqual([
      "192.0.2.7",
      "10.0.0.5",
      "2001:db8::5",
    ]);
    expect(orderedAddresses({ lo: interfaces.lo }, [])).toEqual([]);
  });
});

describe("the endpoints that a client registers", () => {
  const own = ["10.0.0.5", "2001:db8::5", "fe80::5"];
  const addresses = (place: Partial<Parameters<typeof ownEndpoints>[0]>) =>
    ownEndpoints({ port: 4000, local: "10.0.0.5", seen: "10.0.0.5", own, ...place }).map(({ address }) => address);

  it("are its own addresses, the one on the way to the server first", () => {
    expect(addresses({})).toEqual(own);
    expect(addresses({ local: "2001:db8::5", seen: "2001:db8::5" })).toEqual(["2001:db8::5", "10.0.0.5", "fe80::5"]);
    expect(addresses({ local: "fe80::5%eth0", seen: "fe80::5" })[0]).toBe("fe80::5");
  });

  it("begin with what the server sees, where that is another address", () => {
    expect(addresses({ seen: "203.0.113.9" })).toEqual(["203.0.113.9", ...own]);
  });

  it("hold no loopback beside the server", () => {
    expect(addresses({ local: "127.0.0.1", seen: "127.0.0.1" })).toEqual(own);
    expect(addresses({ local: "127.0.0.1", seen: null })).toEqual(own);
    expect(addresses({ local: "127.0.0.1", seen: null, own: [] })).toEqual([]);
  });

  it("are eight at most", () => {
    expect(addresses({ own: Array.from({ length: 20 }, (_, i) => `10.0.1.${i}`) })).toHaveLength(8);
  });
});

describe("the endpoints that lead to a client", () => {
  const bob = entryOf("bob", 4000, {
    endpoints: ["127.0.0.1", "10.0.0.5", "::1", "fe80::5"].map((address) => ({ address, port: 4000, kind: "host" })),
  });
  const addresses = (isBesideServer: boolean) =>
    reachableEndpoints(bob, { isBesideServer, canRelay: false }, ["eth0", "wlan0"]).map(({ address }) => address);

  it("are none of loopback, unless the server is on this host; a link-local one is tried on each link", () => {
    expect(addresses(false)).toEqual(["10.0.0.5", "fe80::5%eth0", "fe80::5%wlan0"]);
    expect(addresses(true)).toEqual(["127.0.0.1", "10.0.0.5", "::1", "fe80::5%eth0", "fe80::5%wlan0"]);
  });
});

describe.skipIf(whyNoHosts)(`a server's own host${whyNoHosts ? ` (skipped: ${whyNoHosts})` : ""}`, () => {
  it("has clients that others reach, and a client is reached at the address that it has now", async () => {
    host = onFreshHost(script, [], { TMPDIR: tmp });
    expect(JSON.parse(await host.line())).toEqual({
      registered: ["10.1.0.1", "10.1.0.1", "10.1.0.2"],
      before: { abroad: [true, true], athome: [true, true] },
      oneShot: [0, 0],
      endpoints: [["10.1.0.2"], ["10.1.0.2", "10.1.0.3"], ["10.1.0.3"]].map((some) => expect.arrayContaining(some)),
      after: [true, true],
    });
    await host.ended;
  });
});
