// Where the lookup server is, as people write it: HOST:PORT, [IPv6]:PORT, HOST. Pure text; no name is resolved here.
import * as net from "node:net";
import { canonicalAddress, withoutZone } from "./endpoint.ts";
import { TalkError } from "./errors.ts";

export const DEFAULT_HOST = "127.0.0.1";
/** talk's own well-known port is 518 (ntalk); 5518 is the same beyond the privileged range. */
export const DEFAULT_PORT = 5518;
export const DEFAULT_SERVER = `${DEFAULT_HOST}:${DEFAULT_PORT}`;

const HOST_LIMIT = 253; // characters of a host name (RFC 1035 section 2.3.4, without the final dot)

export interface ServerAddress {
  readonly host: string;
  readonly port: number;
}

/** Node's own compiles a regular expression for 5 ms when it is first asked: not for what has too few colons anyway. */
const isIPv6 = (text: string): boolean => text.indexOf(":") !== text.lastIndexOf(":") && net.isIPv6(text);

/**
 * Reads HOST:PORT, HOST, :PORT, [IPV6]:PORT or a bare IPv6 address; what is left out is the default. The host comes out in one
 * spelling: what is remembered of a server must hold however it is written next time.
 * @param where names the flag, variable or file in the error
 * @param minPort 0 where the system may pick the port (`serve --listen`), else 1
 * @throws TalkError usage
 */
export function parseServerAddress(text: string, where = "server", minPort = 1): ServerAddress {
  if (isIPv6(text)) return { host: canonicalHost(text), port: DEFAULT_PORT };
  const match = /^(?:\[([^[\]]*)\]|([^:[\]]*))(?::(.*))?$/.exec(text);
  if (match === null || text === "") throw bad(where, text, "expected HOST:PORT or [IPV6]:PORT");
  const [, bracketed, plain, port] = match;
  if (bracketed !== undefined && !isIPv6(bracketed)) throw bad(where, text, "no IPv6 address between the brackets");
  const host = bracketed ?? (plain || DEFAULT_HOST);
  if (bracketed === undefined && !isHost(host)) throw bad(where, text, "not a host name or address");
  return {
    host: canonicalHost(host),
    port: port === undefined ? DEFAULT_PORT : parsePort(port, minPort, where, text),
  };
}

/** Host names have no case (RFC 4343) and may end with the root's dot; an IPv6 address has many spellings (RFC 5952). */
function canonicalHost(host: string): string {
  if (!isIPv6(host)) return host.toLowerCase().replace(/\.$/, "");
  const address = withoutZone(host);
  return canonicalAddress(address) + host.slice(address.length); // a zone is an interface's name, and those have case
}

/** The usual spelling of a "HOST:PORT" that may have been written down in another one; unchanged if it is none. */
export function canonicalServer(text: string): string {
  try {
    return formatServerAddress(parseServerAddress(text));
  } catch (error) {
    if (error instanceof TalkError) return text;
    throw error;
  }
}

/** The inverse: "HOST:PORT", with brackets around an IPv6 address. */
export function formatServerAddress({ host, port }: ServerAddress): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Servers of one list, at most: each that does not answer costs a client seconds. */
export const MAX_SERVERS = 8;

/**
 * Reads servers, as text with commas between, in the order in which they are tried. One that stands there twice counts once.
 * @param where as for parseServerAddress()
 * @throws TalkError usage
 */
export function parseServerList(list: string | readonly string[], where = "server"): ServerAddress[] {
  const text = typeof list === "string" ? list : list.join(",");
  const found = new Map<string, ServerAddress>();
  for (const one of text.split(",")) {
    if (one === "" && text !== "") throw bad(where, text, "a server is missing between, before or after its commas");
    const address = parseServerAddress(one, where);
    found.set(formatServerAddress(address), address);
  }
  if (found.size > MAX_SERVERS)
    throw bad(where, text, `these are ${found.size} servers, and ${MAX_SERVERS} is the most`);
  return [...found.values()];
}

/** The inverse: "A,B,C". */
export const formatServerList = (servers: readonly ServerAddress[]): string =>
  servers.map(formatServerAddress).join(",");

/** Whether a server stands in both lists, in any spelling. */
export function haveServerInCommon(one: string, other: string): boolean {
  const others = new Set(other.split(",").map(canonicalServer));
  return one.split(",").some((server) => others.has(canonicalServer(server)));
}

/** True for addresses that never leave this machine, for which plain TCP is good enough. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (net.isIPv4(host) && host.startsWith("127."));
}

function parsePort(port: string, minPort: number, where: string, text: string): number {
  const value = /^\d{1,5}$/.test(port) ? Number(port) : Number.NaN;
  if (!(value >= minPort && value <= 65535)) throw bad(where, text, `the port must be ${minPort} to 65535`);
  return value;
}

function isHost(host: string): boolean {
  return host.length <= HOST_LIMIT && /^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?$/i.test(host);
}

function bad(where: string, text: string, reason: string): TalkError {
  return new TalkError("usage", `${where} ${JSON.stringify(text)}: ${reason}`, { subject: where });
}
