// A /dev/shm for a few programs: what others of the same user show of themselves on this host is not theirs.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";

export class OwnShm implements Disposable {
  readonly #holder: ChildProcess;
  /** The words before a command that put it there. */
  readonly prefix: readonly string[];

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
    this.prefix = ["nsenter", "-m", "-t", String(holder.pid), "--"];
  }

  /** For root, where there are mount namespaces (privileges.ts, whyNoPrivateShm). */
  static async make(): Promise<OwnShm> {
    const script = "mount -t tmpfs -o mode=1777 tmpfs /dev/shm && echo made && exec cat";
    const holder = spawn("unshare", ["-m", "sh", "-c", script], { stdio: ["pipe", "pipe", "inherit"] });
    await once(holder.stdout, "data");
    return new OwnShm(holder);
  }

  /** Where this process finds it. */
  get folder(): string {
    return `/proc/${this.#holder.pid}/root/dev/shm`;
  }

  [Symbol.dispose](): void {
    this.#holder.kill("SIGKILL");
  }
}
