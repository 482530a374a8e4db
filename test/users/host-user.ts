// Users of this host that do not trust each other: system accounts that every host has, become with setpriv(1). Root only.

import { spawn, spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clean } from "../../lib/cli/ipc/clean.ts";
import { inventory } from "../../lib/cli/ipc/inventory.ts";
import { type Outcome, outcomeOf } from "../helpers/cli.ts";
import { COMMAND } from "../helpers/command.js";
import { Program } from "../helpers/program.ts";

/** Why these tests cannot run here; null when they can. */
export const whyNoUsers: string | null =
  process.getuid?.() !== 0
    ? "only root can become other users"
    : spawnSync("setpriv", ["--version"]).status !== 0
      ? "setpriv(1) is missing"
      : null;

/** @returns null where this host has no such account */
export function uidOf(login: string): number | null {
  const { status, stdout } = spawnSync("getent", ["passwd", login], { encoding: "utf8" });
  return status === 0 ? Number(stdout.split(":")[2]) : null;
}

/** A user with folders for state and configuration that vanish with it, as do its objects in shared memory that no program uses. */
export class HostUser implements Disposable {
  readonly login: string;
  readonly uid: number;
  readonly home: string;
  readonly env: NodeJS.ProcessEnv;

  constructor(login: string) {
    const uid = uidOf(login);
    if (uid === null) throw new Error(`this host has no account ${login}`);
    this.login = login;
    this.uid = uid;
    this.home = mkdtempSync(join(tmpdir(), `ptalk-${login}-`));
    chownSync(this.home, uid, uid);
    chmodSync(this.home, 0o700);
    this.env = {
      PATH: process.env.PATH,
      LANG: "C.UTF-8",
      HOME: this.home,
      XDG_STATE_HOME: join(this.home, "state"),
      XDG_CONFIG_HOME: join(this.home, "config"),
    };
  }

  /** The words before a command that make it this user's. */
  get prefix(): string[] {
    const id = String(this.uid);
    return [
      "--reuid",
      id,
      "--regid",
      id,
      "--clear-groups",
      "env",
      "-i",
      ...Object.entries(this.env).map(([k, v]) => `${k}=${v}`),
    ];
  }

  /** Runs `ptalk` to its end. */
  run(args: readonly string[], input = ""): Promise<Outcome> {
    return outcomeOf(spawn("setpriv", [...this.prefix, ...COMMAND, ...args], { cwd: "/" }), input);
  }

  /** Starts `ptalk` and leaves it running. */
  start(args: readonly string[]): Program {
    return this.program([...COMMAND, ...args]);
  }

  /** Starts any program as this user. @param wrapper words before it, such as unshare(1)'s */
  program(words: readonly string[]): Program {
    return new Program("setpriv", [...this.prefix, ...words], { cwd: "/" });
  }

  [Symbol.dispose](): void {
    rmSync(this.home, { recursive: true, force: true });
    // What programs that were killed have left: nobody comes after them as that user.
    for (const group of inventory(this.uid)) if (group.state === "dead") clean(group);
  }
}
