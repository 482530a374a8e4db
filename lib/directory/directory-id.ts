// The id of a directory: what clients remember keys under, however its server is reached. A server with a state directory makes a random one, once.
// A server that keeps nothing has the host's: all default servers of a host, one after the other, are one directory.
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";

/** 128 bits: no two directories make the same. */
const ID_BYTES = 16;
const KEPT = new RegExp(`^[0-9a-f]{${2 * ID_BYTES}}$`);
const HOST_PREFIX = "host-";
const OF_HOST = new RegExp(`^${HOST_PREFIX}[0-9a-f]{${2 * ID_BYTES}}$`);

export function newDirectoryId(): string {
  return randomBytes(ID_BYTES).toString("hex");
}

/** Whether it is the id of a directory that is kept: one key belongs to it. */
export function isKeptId(text: string): boolean {
  return KEPT.test(text);
}

/** Whether it is the id of a host's default server, whose key is a new one at each start. */
export function isHostId(text: string): boolean {
  return OF_HOST.test(text);
}

let known: string | undefined;

/**
 * The id of this host's default server: a hash of machine-id(5), which is not to leave the host as it is, and of the host's name, since clones share
 * the machine-id; without a machine-id, of the boot's id.
 */
export function hostDirectoryId(): string {
  known ??= hostIdOf(firstLine("/etc/machine-id") ?? firstLine("/proc/sys/kernel/random/boot_id"), hostname());
  return known;
}

/** @param machine null where the system has no id: then no second server has the same either */
export function hostIdOf(machine: string | null, host: string): string {
  const text = `ptalk-host-v1\n${machine ?? newDirectoryId()}\n${host}\n`;
  const digest = createHash("sha256").update(text).digest("hex");
  return `${HOST_PREFIX}${digest.slice(0, 2 * ID_BYTES)}`;
}

function firstLine(path: string): string | null {
  try {
    return readFileSync(path, "latin1").split("\n")[0]?.trim() || null;
  } catch {
    return null;
  }
}
