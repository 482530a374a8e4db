// What a test may do only as root, or in namespaces: and why not, where it may not.
import { spawnSync } from "node:child_process";
import { NodeProgram } from "./node-program.ts";

/** Whether a test can become another user: "nobody" is 65534. */
export const canChangeUser = process.getuid?.() === 0;

/** Why this process cannot give a program a /dev/shm of its own; null when it can. */
export const whyNoPrivateShm: string | null = tryUnshare("mount", "-t", "tmpfs", "tmpfs", "/dev/shm");

/** Why this process cannot run a program without /proc; null when it can. */
export const whyNoProcTaken: string | null = tryUnshare("umount", "-l", "/proc");

/** Runs a command in a mount namespace of its own; null when it succeeds, else why not. */
function tryUnshare(...command: string[]): string | null {
  const result = spawnSync("unshare", ["-m", ...command], { encoding: "utf8" });
  if (result.error) return "unshare(1) is missing";
  return result.status === 0 ? null : `no mount namespaces here: ${result.stderr.trim()}`;
}

/** A Node program (see NodeProgram) whose /dev/shm is a tmpfs of its own with those mount options. */
export function inPrivateShm(options: string, script: string): NodeProgram {
  return new NodeProgram(script, [], {
    wrapper: ["unshare", "-m", "sh", "-c", `mount -t tmpfs -o ${options} tmpfs /dev/shm && exec "$@"`, "sh"],
  });
}
