// A host with several users: real uids, each with a login, a home and processes of its own, in namespaces of the run's. Only root can
// make it. `main.ts` runs in it.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { COMMAND } from "../helpers/command.js";

export const PORT = 5518;
/** Far beyond any answer: a hang fails with a message that says whose. */
const WATCHDOG_MS = 60_000;

/** The folder of the service's socket. */
const SERVICE_FOLDER = "/run/ptalk";

/** What holds. Prints one line: its name, and what `run` says that it has seen. */
export interface Point {
  readonly name: string;
  /** @returns counts and times, for people. @throws Error saying what does not hold */
  readonly run: (world: World) => Promise<string>;
}

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

/** A program of one user, line by line. */
export class UserProgram {
  readonly child: ChildProcess;
  readonly lines: string[] = [];
  stderr = "";
  #wake: () => void = () => {};

  constructor(child: ChildProcess) {
    this.child = child;
    child.stderr?.on("data", (chunk) => {
      this.stderr += chunk;
    });
    child.once("exit", () => this.#wake());
    if (child.stdout === null) return;
    createInterface(child.stdout).on("line", (line) => {
      this.lines.push(line);
      this.#wake();
    });
  }

  get isOver(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** Resolves when `holds` is true of its lines. */
  async until(what: string, holds: (lines: readonly string[]) => boolean): Promise<void> {
    const deadline = performance.now() + WATCHDOG_MS;
    while (!holds(this.lines)) {
      if (this.isOver) throw new Error(`it ended before ${what}: ${this.stderr.trim()}`);
      if (performance.now() > deadline)
        throw new Error(`waited for ${what}; it has said: ${this.lines.slice(-5).join(" | ")}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, 100);
      });
    }
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    if (this.isOver) return;
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill(signal);
    await ended;
  }
}

export class User {
  readonly name: string;
  readonly uid: number;
  readonly home: string;
  readonly #world: World;

  constructor(world: World, name: string, uid: number, home: string) {
    this.#world = world;
    this.name = name;
    this.uid = uid;
    this.home = home;
  }

  start(command: readonly string[], env: NodeJS.ProcessEnv = {}): UserProgram {
    const ids = [`--reuid=${this.uid}`, `--regid=${this.uid}`, "--clear-groups"];
    return this.startAsRoot(["setpriv", ...ids, "--", ...command], env);
  }

  /** In this user's environment, but by root: it becomes the user itself. */
  startAsRoot([program = "", ...words]: readonly string[], env: NodeJS.ProcessEnv = {}): UserProgram {
    const child = spawn(program, words, {
      cwd: "/",
      env: { PATH: process.env.PATH, HOME: this.home, LANG: "C.UTF-8", LOGNAME: this.name, USER: this.name, ...env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    child.stdin?.on("error", () => {});
    const running = new UserProgram(child);
    this.#world.programs.push(running);
    return running;
  }

  node(file: string, ...args: string[]): UserProgram {
    return this.start([process.execPath, file, ...args]);
  }

  ptalk(...args: string[]): UserProgram {
    return this.start([...COMMAND, ...args]);
  }

  /** Runs a command of ptalk to its end. */
  async run(args: readonly string[], input = ""): Promise<Outcome> {
    const begin = performance.now();
    const program = this.ptalk(...args);
    program.child.stdin?.end(input);
    const status = await new Promise<number | null>((resolve, reject) => {
      const watchdog = setTimeout(() => reject(new Error(`waited for ptalk ${args.join(" ")}`)), WATCHDOG_MS);
      program.child.once("close", (code) => {
        clearTimeout(watchdog);
        resolve(code);
      });
    });
    const ms = Math.round(performance.now() - begin);
    return { status, stdout: program.lines.join("\n"), stderr: program.stderr, ms };
  }
}

const LOGINS = ["alice", "bob", "mallory", "dave@ad.example"];
const FIRST_UID = 61_001;

export class World {
  readonly alice: User;
  readonly bob: User;
  readonly mallory: User;
  /** A login of a directory service. */
  readonly dave: User;
  readonly root: User;
  readonly programs: UserProgram[] = [];
  readonly #folder: string;

  /** Caller is root, in mount and network namespaces of its own. */
  constructor() {
    const folder = mkdtempSync(join(tmpdir(), "ptalk-users-"));
    this.#folder = folder;
    spawnSync("chmod", ["755", folder]);
    mustRun("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/dev/shm");
    mustRun("ip", "link", "set", "lo", "up");
    let passwd = readFileSync("/etc/passwd", "utf8");
    const users = LOGINS.map((name, index) => {
      const home = join(folder, name);
      const uid = FIRST_UID + index;
      mkdirSync(home, { mode: 0o700 });
      chownSync(home, uid, uid);
      passwd += `${name}:x:${uid}:${uid}::${home}:/bin/sh\n`;
      return new User(this, name, uid, home);
    });
    const file = join(folder, "passwd");
    writeFileSync(file, passwd, { mode: 0o644 });
    mustRun("mount", "--bind", file, "/etc/passwd");
    [this.alice, this.bob, this.mallory, this.dave] = users as [User, User, User, User];
    this.root = new User(this, "root", 0, mkdtempSync(join(folder, "root-")));
    mkdirSync(SERVICE_FOLDER, { recursive: true });
    mustRun("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", SERVICE_FOLDER);
  }

  get users(): readonly User[] {
    return [this.alice, this.bob, this.mallory];
  }

  /** Ends every program, and every server in the background, and empties /dev/shm. */
  async reset(): Promise<void> {
    await Promise.all(this.programs.splice(0).map((program) => program.kill()));
    for (const pid of servers()) process.kill(pid, "SIGKILL");
    await until("the servers to end", () => servers().length === 0);
    for (const file of readdirSync(SERVICE_FOLDER)) rmSync(join(SERVICE_FOLDER, file));
    for (const file of readdirSync("/dev/shm")) rmSync(`/dev/shm/${file}`, { recursive: true, force: true });
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Pids of all servers that clients started, of the users of this world. */
export function servers(): number[] {
  return readdirSync("/proc")
    .filter((pid) => /^\d+$/.test(pid))
    .map(Number)
    .filter((pid) => isOurs(pid) && commandOf(pid).includes("--background"));
}

function commandOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}

function isOurs(pid: number): boolean {
  try {
    const uid = Number(/^Uid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]);
    return uid >= FIRST_UID && uid < FIRST_UID + LOGINS.length;
  } catch {
    return false;
  }
}

export async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + WATCHDOG_MS;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`waited for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export function hold(condition: boolean, otherwise: string): void {
  if (!condition) throw new Error(otherwise);
}

function mustRun(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr.trim()}`);
}
