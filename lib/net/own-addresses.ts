// The addresses of this host that others may reach it at, and when they change. Interfaces that are down or have no carrier
// (a bridge without a container) are left out by getifaddrs(3) and the IFF_RUNNING flag that libuv asks for.
import { readFileSync } from "node:fs";
import { isIPv4 } from "node:net";
import { type NetworkInterfaceInfo, networkInterfaces } from "node:os";

/** Milliseconds between two looks at the interfaces. A client whose address changes is registered again within twice that. */
const LOOK_EVERY_MS = 1_000;

type Interfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

/**
 * Addresses in the order of their use: of each family the one on the default route, then the others, link-local ones last and
 * without their zone. No loopback, no two alike.
 */
export function ownAddresses(): string[] {
  return orderedAddresses(interfacesNow(), defaultRouteInterfaces());
}

/** Pure, see {@link ownAddresses}. @param defaults interfaces with a default route, the preferred ones first */
export function orderedAddresses(interfaces: Interfaces, defaults: readonly string[]): string[] {
  const found: { readonly address: string; readonly rank: number }[] = [];
  for (const [name, addresses] of Object.entries(interfaces)) {
    const route = defaults.indexOf(name);
    const seen = new Set<string>();
    for (const { address, family, internal } of addresses ?? []) {
      if (internal) continue;
      // The first address of a family is the one that the kernel prefers as the source.
      const isFirst = !seen.has(family);
      seen.add(family);
      const rank = isLinkLocal(address) ? OF_THE_LINK : route === -1 || !isFirst ? OF_AN_INTERFACE : route;
      found.push({ address, rank });
    }
  }
  found.sort((a, b) => a.rank - b.rank); // a stable sort: the rest keeps the kernel's order
  return [...new Set(found.map(({ address }) => address))];
}

const OF_AN_INTERFACE = 1_000;
const OF_THE_LINK = 2_000;

/** RFC 3927; RFC 4291 section 2.5.6. */
export function isLinkLocal(address: string): boolean {
  return isIPv4(address) ? address.startsWith("169.254.") : /^fe[89ab]/i.test(address);
}

/** Names of the interfaces that a link-local address may belong to: those that have one themselves. */
export function linkLocalZones(): string[] {
  return Object.entries(interfacesNow())
    .filter(([, addresses]) => addresses?.some(({ address, internal }) => !internal && isLinkLocal(address)))
    .map(([name]) => name);
}

/** Each address as a socket can be bound to it: a link-local one with its zone. No loopback. */
export function bindableAddresses(): string[] {
  return Object.entries(interfacesNow()).flatMap(([name, addresses]) =>
    (addresses ?? [])
      .filter(({ internal }) => !internal)
      .map(({ address, family }) => (family === "IPv6" && isLinkLocal(address) ? `${address}%${name}` : address)),
  );
}

/** None where the kernel does not tell (a sandbox without netlink sockets): the client is reached where the server sees it. */
function interfacesNow(): Interfaces {
  try {
    return networkInterfaces();
  } catch {
    return {};
  }
}

/** Calls back when the addresses of this host have changed. All callers share one timer, which keeps no process alive. */
export function watchOwnAddresses(onChange: () => void): Disposable {
  if (listeners.size === 0) {
    last = ownAddresses().join();
    timer = setInterval(look, LOOK_EVERY_MS).unref();
  }
  const listener = { onChange };
  listeners.add(listener);
  return {
    [Symbol.dispose]: () => {
      listeners.delete(listener);
      if (listeners.size === 0) clearInterval(timer);
    },
  };
}

const listeners = new Set<{ readonly onChange: () => void }>();
let timer: NodeJS.Timeout | undefined;
let last = "";

function look(): void {
  const now = ownAddresses().join();
  if (now === last) return;
  last = now;
  for (const { onChange } of [...listeners]) onChange();
}

/** proc(5): the kernel's tables as text; IPv4 routes by their metric, then IPv6. Without /proc there is no preference. */
function defaultRouteInterfaces(): string[] {
  const routes: { readonly name: string; readonly metric: number }[] = [];
  for (const line of linesOf("/proc/net/route")) {
    const [name, destination, , , , , metric, mask] = line.split(/\s+/);
    if (name !== undefined && destination === "00000000" && mask === "00000000") {
      routes.push({ name, metric: Number(metric) });
    }
  }
  for (const line of linesOf("/proc/net/ipv6_route")) {
    const [destination, length, , , , metric, , , , name] = line.trim().split(/\s+/);
    const isDefault = length === "00" && /^0+$/.test(destination ?? "");
    // The kernel keeps an unreachable default route on loopback.
    if (isDefault && name !== undefined && name !== "lo") {
      routes.push({ name, metric: Number.parseInt(metric ?? "", 16) });
    }
  }
  routes.sort((a, b) => a.metric - b.metric);
  return [...new Set(routes.map(({ name }) => name))];
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, "utf8").split("\n");
  } catch {
    return [];
  }
}
