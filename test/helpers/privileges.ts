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
  return tryRun(["unshare", "-m", ...command]);
}

function tryRun([program = "", ...args]: readonly string[]): string | null {
  const result = spawnSync(program, args, { encoding: "utf8" });
  if (result.error) return `${program}(1) is missing`;
  return result.status === 0 ? null : `no namespaces here: ${result.stderr.trim()}`;
}

/** A Node program (see NodeProgram) whose /dev/shm is a tmpfs of its own with those mount options. */
export function inPrivateShm(options: string, script: string): NodeProgram {
  return new NodeProgram(script, [], {
    wrapper: ["unshare", "-m", "sh", "-c", `mount -t tmpfs -o ${options} tmpfs /dev/shm && exec "$@"`, "sh"],
  });
}

const QUEUES_OF_ITS_OWN = ["unshare", "-m", "-i"];
/** A /dev with message queues in it. */
const WITH_QUEUES = `old=$(mktemp -d) && mount --rbind /dev "$old" && mount -t tmpfs none /dev && mkdir /dev/mqueue /dev/shm &&
  for each in null urandom; do : > /dev/$each; mount --bind "$old/$each" /dev/$each; done && umount -l "$old" && rmdir "$old" &&
  mount -t mqueue none /dev/mqueue && exec "$@"`;

/** Why this process cannot mount /dev/mqueue for a program; null when it can. */
export const whyNoQueues: string | null = tryRun([...QUEUES_OF_ITS_OWN, "sh", "-c", WITH_QUEUES, "sh", "true"]);

/** A Node program (see NodeProgram) that has a /dev/mqueue and a /dev/shm of its own. */
export function withQueues(script: string): NodeProgram {
  return new NodeProgram(script, [], { wrapper: [...QUEUES_OF_ITS_OWN, "sh", "-c", WITH_QUEUES, "sh"] });
}
