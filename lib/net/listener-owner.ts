// Whose socket listens on a TCP port of this network namespace: proc_net_tcp(5).
import { readFileSync } from "node:fs";
import { isIPv4 } from "node:net";
import { endianness } from "node:os";
import type { ServerAddress } from "../base/server-address.ts";

const LISTEN = "0A";
const MAPPED = "0000000000000000FFFF0000";

/**
 * The uids of the sockets that take connections to this literal address: of those bound to exactly it, else of those bound to all
 * addresses. Empty when there is none, or where /proc does not tell.
 */
export function listenerOwners({ host, port }: ServerAddress): ReadonlySet<number> {
  const [exact, any] = isIPv4(host)
    ? [
        [hexOfIPv4(host), `${MAPPED}${hexOfIPv4(host)}`],
        ["00000000", "0".repeat(32)],
      ]
    : [[hexOfIPv6(host)], ["0".repeat(32)]];
  const owners = { exact: new Set<number>(), any: new Set<number>() };
  for (const file of ["/proc/self/net/tcp", "/proc/self/net/tcp6"]) {
    for (const line of linesOf(file)) {
      const [, local = "", , state, , , , uid] = line.trim().split(/\s+/);
      const [address = "", digits = ""] = local.split(":");
      if (state !== LISTEN || Number.parseInt(digits, 16) !== port || uid === undefined) continue;
      if (exact?.includes(address)) owners.exact.add(Number(uid));
      else if (any?.includes(address)) owners.any.add(Number(uid));
    }
  }
  return owners.exact.size > 0 ? owners.exact : owners.any;
}

function linesOf(file: string): string[] {
  try {
    return readFileSync(file, "latin1").split("\n").slice(1);
  } catch {
    return [];
  }
}

/** The kernel shows each 32-bit word of an address as the machine reads it. */
function hexOfWords(bytes: Buffer): string {
  if (endianness() === "LE") bytes.swap32();
  return bytes.toString("hex").toUpperCase();
}

function hexOfIPv4(host: string): string {
  return hexOfWords(Buffer.from(host.split(".").map(Number)));
}

function hexOfIPv6(host: string): string {
  if (host !== "::1") return "";
  const bytes = Buffer.alloc(16);
  bytes[15] = 1;
  return hexOfWords(bytes);
}
