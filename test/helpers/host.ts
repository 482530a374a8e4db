// A host of a test's own: namespaces with their own loopback, /dev/shm and processes. All that runs there ends with it.
import { spawnSync } from "node:child_process";
import { Program } from "./program.ts";

const SET_UP = "ip link set lo up && mount -t tmpfs tmpfs /dev/shm";
const namespaces = [
  ...["-n", "-m", "-p", "--fork", "--kill-child", "--mount-proc"],
  ...(process.getuid?.() === 0 ? [] : ["-r"]), // unprivileged: root in a user namespace
];

/** Why there are no such hosts here; null when there are. */
export const whyNoHosts: string | null = tryHost();

function tryHost(): string | null {
  const result = spawnSync("unshare", [...namespaces, "sh", "-c", SET_UP], { encoding: "utf8" });
  if (result.error) return "unshare(1) is missing";
  return result.status === 0 ? null : `no namespaces here: ${result.stderr.trim()}`;
}

/** The command line that runs another one on a fresh host. */
export function hostCommand(command: readonly string[]): [command: string, args: string[]] {
  return ["unshare", [...namespaces, "sh", "-c", `${SET_UP} && "$@"; exit $?`, "sh", ...command]];
}

/** Runs a Node script (a file) on a fresh host. */
export function onFreshHost(script: string, args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Program {
  const [command, words] = hostCommand([process.execPath, script, ...args]);
  return new Program(command, words, { env });
}
