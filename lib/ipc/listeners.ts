// The sockets that have a port of this network namespace: those that listen on it (TCP), or are bound to it (UDP). They name their
// owner, never a speaker.
import { closeSync, openSync, readdirSync, readlinkSync, readSync } from "node:fs";
import { native } from "../native.ts";

/** A socket that listens. */
export interface Listener {
  /** Owner of the socket: the uid that created it. */
  readonly uid: number;
  /** As fstat(2) gives it: unique among the sockets of this host. */
  readonly inode: number;
}

const CHUNK_BYTES = 64 * 1024;
const LISTENING = "0A"; // TCP_LISTEN, linux/tcp_states.h
const ANY = { tcp: "00000000", tcp6: "0".repeat(32) };
const MAPPED_PREFIX = "0000000000000000FFFF0000";

/**
 * The sockets to which a connection to that very address goes; if there are none, and it is a loopback address, those that listen on
 * all addresses. Empty where neither the kernel nor /proc tells.
 * @param host an IPv4 address, or an IPv6 address in its canonical spelling
 */
export function listenersOn(host: string, port: number): Listener[] {
  const isV6 = host.includes(":");
  const address = isV6 ? hexOfV6(host) : hexOfV4(host);
  const own = rows(isV6 ? "tcp6" : "tcp", port);
  const exact = [...(own.get(address) ?? [])];
  if (!isV6) exact.push(...(rows("tcp6", port).get(MAPPED_PREFIX + address) ?? []));
  if (exact.length > 0) return exact;
  if (host !== "::1" && !host.startsWith("127.")) return [];
  const any = own.get(isV6 ? ANY.tcp6 : ANY.tcp);
  return any ?? (isV6 ? [] : (rows("tcp6", port).get(ANY.tcp6) ?? []));
}

/** One end of a TCP connection. */
export interface TcpEnd {
  /** Without a zone, and an IPv4 address in IPv4 notation. */
  readonly address: string;
  readonly port: number;
}

/**
 * The uid that owns the socket at the other end of a connection of this host to itself; null where /proc does not tell, or it has ended. It
 * owns the socket, and may be a forwarder: a reason to refuse, never one to grant.
 */
export function ownerOfConnection(from: TcpEnd, to: TcpEnd): number | null {
  for (const file of ["tcp", "tcp6"] as const) {
    const [local, remote] = [hexOfEnd(from, file), hexOfEnd(to, file)];
    if (local === null || remote === null) continue;
    for (const line of lines(`/proc/net/${file}`)) {
      const [, address, other, , , , , uid] = line.trim().split(/\s+/);
      if (address === local && other === remote) return Number(uid);
    }
  }
  return null;
}

/** As proc_net_tcp(5) writes it; null for an IPv6 address in the file of IPv4. */
function hexOfEnd({ address, port }: TcpEnd, file: "tcp" | "tcp6"): string | null {
  const end = portSuffix(port);
  if (address.includes(":")) return file === "tcp6" ? hexOfV6(address) + end : null;
  return (file === "tcp6" ? MAPPED_PREFIX : "") + hexOfV4(address) + end;
}

/** The UDP sockets that are bound to the port, whatever their address; none where /proc does not tell. */
export function udpSocketsOn(port: number): Listener[] {
  const end = portSuffix(port);
  const found: Listener[] = [];
  for (const file of ["udp", "udp6"]) {
    for (const line of lines(`/proc/net/${file}`)) {
      const [, local = "", , , , , , uid, , inode] = line.trim().split(/\s+/);
      if (local.endsWith(end)) found.push({ uid: Number(uid), inode: Number(inode) });
    }
  }
  return found;
}

/** The process that has the socket open; null where /proc does not show it: another user's. */
export function holderOfSocket(inode: number): number | null {
  const wanted = `socket:[${inode}]`;
  for (const pid of listOf("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const folder = `/proc/${pid}/fd`;
    if (listOf(folder).some((fd) => linkOf(`${folder}/${fd}`) === wanted)) return Number(pid);
  }
  return null;
}

function listOf(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

/** The sockets that listen on the port, by local address in the form of proc_net_tcp(5). */
function rows(file: "tcp" | "tcp6", port: number): Map<string, Listener[]> {
  const found = new Map<string, Listener[]>();
  for (const { address, ...listener } of listening(file, port)) {
    found.set(address, [...(found.get(address) ?? []), listener]);
  }
  return found;
}

type Row = Listener & { readonly address: string };

function listening(file: "tcp" | "tcp6", port: number): Row[] {
  try {
    return native.tcpListeners(file === "tcp6", port);
  } catch {
    return listeningByProc(file, port); // a kernel or a sandbox without sock_diag(7)
  }
}

/** The kernel lists listening sockets before all others. */
export function listeningByProc(file: "tcp" | "tcp6", port: number): Row[] {
  const found: Row[] = [];
  const end = portSuffix(port);
  for (const line of lines(`/proc/net/${file}`)) {
    const [, local = "", , state, , , , uid, , inode] = line.trim().split(/\s+/);
    if (state === "st") continue; // the heading
    if (state !== LISTENING) break;
    if (local.endsWith(end))
      found.push({ address: local.slice(0, -end.length), uid: Number(uid), inode: Number(inode) });
  }
  return found;
}

/** As local addresses of proc_net_tcp(5) end. */
const portSuffix = (port: number): string => `:${port.toString(16).toUpperCase().padStart(4, "0")}`;

function* lines(path: string): Generator<string> {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return;
  }
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    let rest = "";
    for (let length = readSync(fd, chunk); length > 0; length = readSync(fd, chunk)) {
      const parts = (rest + chunk.toString("latin1", 0, length)).split("\n");
      rest = parts.pop() ?? "";
      yield* parts;
    }
  } finally {
    closeSync(fd);
  }
}

/** Each 32-bit word of the address in hexadecimal, as a number of a little-endian machine: ptalk runs on no others. */
function hexOfBytes(bytes: readonly number[]): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4) {
    for (const byte of bytes.slice(at, at + 4).reverse()) text += byte.toString(16).padStart(2, "0");
  }
  return text.toUpperCase();
}

const hexOfV4 = (host: string): string => hexOfBytes(host.split(".").map(Number));

function hexOfV6(host: string): string {
  const [head = "", tail] = host.split("::");
  const groups = (text: string): string[] => (text === "" ? [] : text.split(":"));
  const [before, after] = [groups(head), groups(tail ?? "")];
  const missing = tail === undefined ? 0 : 8 - before.length - after.length;
  const all = [...before, ...new Array<string>(missing).fill("0"), ...after].map((group) => Number.parseInt(group, 16));
  return hexOfBytes(all.flatMap((group) => [group >> 8, group & 0xff]));
}
