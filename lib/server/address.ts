// The address of a connection's other side, in one notation.
import { isIPv4 } from "node:net";

/** IPv4 behind an IPv6 socket (RFC 4291, section 2.5.5.2) is IPv4; a zone means something only to this machine. */
export function plainAddress(address: string | undefined): string {
  if (address === undefined) return ""; // it has gone again already
  const inner = address.replace(/^::ffff:/i, "");
  return isIPv4(inner) ? inner : address.replace(/%.*$/, "");
}
