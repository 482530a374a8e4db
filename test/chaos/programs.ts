// The programs of a run as their drivers see them: started, killed, stopped, asked to leave, and everything that they say written
// down. The server is one program that comes back; a member is a name that comes back; a sender is one message.
import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { childrenOf } from "../helpers/processes.ts";
import { SETTLE_MS } from "./check.ts";
import type { Journal, ProgramKind } from "./journal.ts";
import { readText, textOf } from "./texts.ts";

const PTALK = join(import.meta.dirname, "../../bin/ptalk.js");
const CLIENT = join(import.meta.dirname, "../fixtures/chaos/client.js");
/** Beyond all time that a program may take to end: then it hangs. */
const WATCHDOG_MS = 30_000;
/** Between two attempts to start what could not start. */
const RETRY_MS = 300;
/** Bytes of stderr that the journal keeps of a program's end. */
const TOLD_BYTES = 2_000;

/** What all programs of a run share. */
export interface Stage {
  readonly journal: Journal;
  /** Folder for states, homes and logs. */
  readonly dir: string;
  /** True once the run has been broken off: nothing is started any more. */
  readonly over: boolean;
  /** Every program that runs, to be killed whatever happens. */
  readonly running: Set<Running>;
  /** Monotonic milliseconds of the last moment that kept programs from starting: the server was down, or a fault has killed one. */
  hinderedAt: number;
  nextRun(): number;
}

type How = "killed" | "left" | "replaced" | "itself";

interface Start {
  readonly who: string;
  readonly program: ProgramKind;
  /** Behind "node". */
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** The words before "node": on which host. Default: this one. */
  readonly inside?: readonly string[];
  /** Given if it had to be known before. */
  readonly run?: number;
}

/** One process with its run's number. */
export class Running {
  readonly run: number;
  readonly who: string;
  readonly child: ChildProcess;
  /** Resolves when it has ended and all that it said was read. */
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  stopped = false;
  readonly #stage: Stage;
  #how: How = "itself";
  #told = "";
  #over = false;

  constructor(stage: Stage, { who, program, args, env = {}, inside = [], run = stage.nextRun() }: Start) {
    this.#stage = stage;
    this.who = who;
    this.run = run;
    const [file = "", ...words] = [...inside, process.execPath, ...args];
    this.child = spawn(file, words, { stdio: ["pipe", "pipe", "pipe"], env: environment(stage, who, env) });
    const { stdin, stderr } = this.child;
    stdin?.on("error", () => {});
    const log = createWriteStream(join(stage.dir, `${who}.log`), { flags: "a" });
    stderr?.pipe(log);
    stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#told = (this.#told + text).slice(-TOLD_BYTES);
    });
    stage.journal.write(who, { type: "start", run: this.run, program, pid: this.child.pid ?? 0 });
    stage.running.add(this);
    this.ended = new Promise((resolve, reject) => {
      this.child.on("error", reject).on("close", (code, signal) => {
        this.#over = true;
        stage.running.delete(this);
        const told = this.#told;
        stage.journal.write(who, { type: "end", run: this.run, how: this.#how, code, signal, told });
        resolve({ code, signal });
      });
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }
  get over(): boolean {
    return this.#over;
  }
  /** Nobody has begun to end it. */
  get goesOn(): boolean {
    return !this.#over && this.#how === "itself";
  }

  onLine(listener: (line: string) => void): void {
    if (this.child.stdout) createInterface({ input: this.child.stdout }).on("line", listener);
  }

  /** What it says, a JSON object a line. A line that its death has cut short was not said. */
  onSaid(listener: (event: Said) => void): void {
    this.onLine((line) => {
      let event: Said;
      try {
        event = JSON.parse(line) as Said;
      } catch {
        if (!this.#isKilled) this.#stage.journal.write(this.who, { type: "hang", run: this.run, what: `said ${line}` });
        return;
      }
      listener(event);
    });
  }

  get #isKilled(): boolean {
    return this.#how === "killed" || this.child.signalCode !== null;
  }

  say(line: string): void {
    this.child.stdin?.write(`${line}\n`);
  }

  kill(): void {
    this.#end("killed");
    this.child.kill("SIGKILL");
  }

  /** Asks it to leave, and kills what does not within `patienceMs` beyond the watchdog. */
  async leave(ask: () => void, patienceMs: number): Promise<void> {
    this.#end("left");
    ask();
    await this.watch(patienceMs, "did not leave");
  }

  /** Another program takes its name over: it will end. */
  isReplaced(): void {
    this.#end("replaced");
  }

  /** Waits for the end. What goes on for longer hangs: it is killed. */
  async watch(patienceMs: number, what: string): Promise<void> {
    const timer = setTimeout(() => {
      this.#stage.journal.write(this.who, { type: "hang", run: this.run, what });
      this.child.kill("SIGKILL");
    }, patienceMs + WATCHDOG_MS);
    await this.ended;
    clearTimeout(timer);
  }

  #end(how: "killed" | "left" | "replaced"): void {
    if (this.#how !== "itself") return;
    this.#how = how;
    this.#stage.hinderedAt = performance.now();
    this.#stage.journal.write(this.who, { type: "ending", run: this.run, how });
  }
}

function environment({ dir }: Stage, who: string, extra: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  // None of the tester's own settings; a home that all share, for the compiled code.
  const own = Object.entries(process.env).filter(([name]) => !/^(PTALK|XDG)_/.test(name));
  const home = join(dir, "home");
  const state = { XDG_STATE_HOME: join(dir, "state", who), XDG_CONFIG_HOME: join(home, "config") };
  return { ...Object.fromEntries(own), HOME: home, ...state, ...extra };
}

/** Tries to start something until it has started, for as long as the watchdog waits while nothing hinders it. */
async function persist(stage: Stage, who: string, startOnce: () => Promise<boolean>): Promise<void> {
  const begun = performance.now();
  while (!stage.over && !(await startOnce())) {
    if (performance.now() > Math.max(begun, stage.hinderedAt) + WATCHDOG_MS) {
      stage.journal.write(who, { type: "hang", run: 0, what: "could not be started" });
      return;
    }
    await sleep(RETRY_MS);
  }
}

/** Whether it started. What neither starts nor ends is killed. */
async function startedInTime(stage: Stage, running: Running, started: Promise<boolean>): Promise<boolean> {
  const timer = setTimeout(() => {
    stage.journal.write(running.who, { type: "hang", run: running.run, what: "neither came on nor ended" });
    running.child.kill("SIGKILL");
  }, WATCHDOG_MS);
  const outcome = await started;
  clearTimeout(timer);
  if (!outcome) await running.ended;
  return outcome;
}

export interface ServerPlace {
  readonly name: string;
  readonly address: string;
  /** 0: any, and then always that one. */
  readonly port: number;
  readonly inside: readonly string[];
  /** More options for `ptalk serve`. */
  readonly options: readonly string[];
}

/** A lookup server: one program after the other, on one port. */
export class ServerDriver {
  port: number;
  readonly name: string;
  readonly #stage: Stage;
  readonly #place: ServerPlace;
  #current: Running | undefined;
  #isOn = false;

  constructor(stage: Stage, place: ServerPlace) {
    this.#stage = stage;
    this.#place = place;
    this.name = place.name;
    this.port = place.port;
  }

  /** The program that serves now. */
  get up(): Running | undefined {
    return this.#isOn ? this.starting : undefined;
  }
  /** The one that serves, or is about to. */
  get starting(): Running | undefined {
    return this.#current?.goesOn ? this.#current : undefined;
  }
  /** Its processes, the primary's children: none while it is down. */
  get workers(): number[] {
    return this.up ? childrenOf(this.up.pid) : [];
  }

  /** Starts one; again and again while its predecessor's port or objects are in the way. */
  start(): Promise<void> {
    return persist(this.#stage, this.name, () => this.#startOnce());
  }

  #startOnce(): Promise<boolean> {
    this.#isOn = false;
    const { name, address, inside, options } = this.#place;
    const args = ["serve", "--listen", `${address}:${this.port}`, "--workers", "2", "--capacity", "256"];
    const state = ["--state-dir", join(this.#stage.dir, name)];
    const running = new Running(this.#stage, {
      ...{ who: name, program: "serve", inside },
      args: [PTALK, ...args, ...state, ...options],
    });
    const serves = new Promise<boolean>((resolve) => {
      running.onLine((line) => {
        const port = /serving on \S+:(\d+)$/.exec(line)?.[1];
        if (port === undefined) return;
        this.port = Number(port);
        this.#isOn = true;
        this.#stage.hinderedAt = performance.now();
        this.#stage.journal.write(name, { type: "on", run: running.run, fingerprint: "", port: this.port });
        resolve(true);
      });
      void running.ended.then(() => resolve(false));
    });
    this.#current = running;
    return startedInTime(this.#stage, running, serves);
  }

  async kill(): Promise<void> {
    this.#current?.kill();
    await this.#current?.ended;
  }

  async stop(): Promise<void> {
    const running = this.#current;
    await running?.leave(() => running.child.kill("SIGTERM"), 0);
  }
}

export interface MemberPlace {
  readonly name: string;
  readonly program: ProgramKind;
  /** "HOST:PORT", or several. */
  readonly server: () => string;
  readonly inside: readonly string[];
  /** Milliseconds until a message is given up: of one program after the other. */
  readonly timeouts: readonly number[];
}

/** The messages of one program. */
interface Orders {
  /** Tokens that it has not named yet: it names messages in the order in which it was given them. */
  readonly given: string[];
  readonly tokens: Map<string, string>;
}

/** A name that is on, program after program, all with the same key. */
export class Member {
  readonly name: string;
  readonly program: ProgramKind;
  readonly #stage: Stage;
  readonly #place: MemberPlace;
  #current: Running | undefined;
  #isOn = false;
  #port = 0;
  #number = 0;
  #timeoutMs = 0;
  #orders: Orders = { given: [], tokens: new Map() };
  /** Rooms that its program says it is in. */
  rooms: readonly string[] = [];

  constructor(stage: Stage, place: MemberPlace) {
    this.#stage = stage;
    this.#place = place;
    this.name = place.name;
    this.program = place.program;
  }

  /** Its program, if it is on and nobody has begun to end it. */
  get on(): Running | undefined {
    return this.#isOn ? this.starting : undefined;
  }
  /** Its program, be it on or about to come on. */
  get starting(): Running | undefined {
    return this.#current?.goesOn ? this.#current : undefined;
  }
  /** UDP port of the program that is on. */
  get port(): number {
    return this.#port;
  }
  get sends(): boolean {
    return this.program === "talk" || this.program === "lib";
  }

  /** Starts it, again and again until it is on. */
  start(): Promise<void> {
    return persist(this.#stage, this.name, () => this.#startOnce(false));
  }

  /** Another program of it takes over from the one that is on, which has to end. */
  async takeOver(): Promise<void> {
    const before = this.on;
    if (before === undefined || this.program !== "lib") return;
    const patienceMs = this.#timeoutMs;
    before.isReplaced();
    await persist(this.#stage, this.name, () => this.#startOnce(true));
    await before.watch(patienceMs, "was replaced, and did not end");
  }

  async #startOnce(replace: boolean): Promise<boolean> {
    this.#isOn = false;
    const orders: Orders = { given: [], tokens: new Map() };
    this.#orders = orders;
    this.rooms = [];
    this.#number = 0;
    const args = { talk: [PTALK, "talk", "--json"], recv: [PTALK, "recv", "--json"], lib: [CLIENT] }[
      this.program as string
    ];
    if (args === undefined) throw new Error(`${this.program} is nobody's program`);
    const env = {
      PTALK_NAME: this.name,
      PTALK_SERVER: this.#place.server(),
      PTALK_TIMEOUT: String(this.#nextTimeout() / 1000),
      ...(replace ? { REPLACE: "yes" } : {}),
    };
    const { inside } = this.#place;
    const running = new Running(this.#stage, { who: this.name, program: this.program, args, env, inside });
    this.#current = running;
    const registered = new Promise<boolean>((resolve) => {
      running.onSaid((event) => {
        if (event.type === "registered") resolve(this.#registered(running, event));
        else this.#note(running, orders, event);
      });
      void running.ended.then(() => resolve(false));
    });
    return startedInTime(this.#stage, running, registered);
  }

  #nextTimeout(): number {
    const { timeouts } = this.#place;
    const turn = this.#current === undefined ? 0 : timeouts.indexOf(this.#timeoutMs) + 1;
    this.#timeoutMs = timeouts[turn % timeouts.length] as number;
    return this.#timeoutMs;
  }

  #registered(running: Running, { name, fingerprint, port }: Said): boolean {
    if (name !== this.name) {
      // Another program of this user holds the name still, and this one has become NAME-2.
      running.kill();
      return false;
    }
    this.#port = port;
    this.#isOn = true;
    this.#stage.journal.write(this.name, { type: "on", run: running.run, fingerprint, port });
    return true;
  }

  #note(running: Running, { given, tokens }: Orders, event: Said): void {
    const { run } = running;
    const { journal } = this.#stage;
    const { type, id } = event;
    if (type === "message") {
      const { from, verified, fingerprint } = event;
      journal.write(this.name, { type: "got", run, from, id, ...readText(event.text), verified, fingerprint });
    } else if (type === "sent") {
      const token = given.shift() ?? "";
      tokens.set(id, token);
      journal.write(this.name, { type: "sent", run, token, id });
    } else if (type === "delivered" || type === "failed" || type === "unconfirmed") {
      const token = tokens.get(id) ?? "";
      tokens.delete(id);
      journal.write(this.name, { type: "outcome", run, token, id, state: type, code: event.code ?? null });
    } else if (type === "error") {
      journal.write(this.name, { type: "error", run, code: event.code ?? "", message: event.message });
    } else if (type === "rooms") {
      if (running === this.#current) this.rooms = event.rooms;
      journal.write(this.name, { type: "rooms", run, rooms: event.rooms });
    }
  }

  /** Has its program send a text, if it is on. */
  send(to: string, bytes: number, rollCall = false): void {
    const running = this.on;
    if (running === undefined || !this.sends) return;
    const token = `${running.run}.${this.#number++}`;
    const timeoutMs = rollCall ? SETTLE_MS : this.#timeoutMs;
    // `ptalk talk` has one timeout for all.
    const ownTimeout = this.program === "talk" ? this.#timeoutMs : timeoutMs;
    this.#stage.journal.write(this.name, {
      type: "order",
      run: running.run,
      token,
      to,
      timeoutMs: ownTimeout,
      rollCall,
    });
    this.#orders.given.push(token);
    const text = textOf(token, bytes);
    running.say(this.program === "talk" ? `${to} ${text}` : JSON.stringify({ to, text, timeoutMs }));
  }

  /** Messages whose fate its program has not told. */
  get underWay(): number {
    return this.on === undefined ? 0 : this.#orders.given.length + this.#orders.tokens.size;
  }

  /** Has the library's program enter a room, or leave it. */
  changeRoom(room: string): void {
    if (this.program === "lib") this.on?.say(JSON.stringify({ room }));
  }

  /** Has the library's program misbehave: see test/fixtures/chaos/client.js. */
  plant(plant: string): void {
    this.on?.say(JSON.stringify({ plant }));
  }

  async kill(): Promise<void> {
    this.#current?.kill();
    await this.#current?.ended;
  }

  async leave(): Promise<void> {
    const running = this.#current;
    if (running === undefined || running.over) return;
    const ask = {
      talk: () => running.say("Exit"),
      lib: () => running.say(JSON.stringify({ exit: true })),
      recv: () => running.child.kill("SIGTERM"),
    }[this.program as "talk" | "lib" | "recv"];
    await running.leave(ask, this.#timeoutMs);
  }
}

/** The fields of the JSON lines that a driver reads. */
interface Said {
  readonly type: string;
  readonly id: string;
  readonly name: string;
  readonly from: string;
  readonly text: string;
  readonly port: number;
  readonly fingerprint: string;
  readonly verified: boolean;
  readonly code?: string;
  readonly message: string;
  readonly rooms: readonly string[];
}

/** Exit statuses of `ptalk send`, by the code that they stand for. */
const CODES: Readonly<Record<number, string>> = {
  67: "no-such-user",
  69: "unreachable",
  73: "name-taken",
  75: "not-delivered",
  76: "unconfirmed",
  77: "refused",
};

/** `ptalk send`: one message by one program; the exit status is its outcome. */
export async function sendOnce(
  stage: Stage,
  {
    from,
    to,
    bytes,
    server,
    inside,
    timeoutMs,
  }: { from: string; to: string; bytes: number; server: string; inside: readonly string[]; timeoutMs: number },
): Promise<void> {
  const { journal } = stage;
  const run = stage.nextRun();
  const token = `${run}.0`;
  const args = [PTALK, "send", "--json", "--as", from, "--timeout", String(timeoutMs / 1000), to, textOf(token, bytes)];
  const running = new Running(stage, { who: from, program: "send", args, env: { PTALK_SERVER: server }, inside, run });
  journal.write(from, { type: "order", run: running.run, token, to, timeoutMs, rollCall: false });
  let id: string | null = null;
  running.onSaid((event) => {
    if (event.type !== "sent") return;
    id = event.id;
    journal.write(from, { type: "sent", run: running.run, token, id });
  });
  await running.watch(timeoutMs, "went on after its time was over");
  const { code } = await running.ended;
  if (code === null) return;
  const state = code === 0 ? "delivered" : code === 76 ? "unconfirmed" : "failed";
  const name = code === 0 ? null : (CODES[code] ?? `status ${code}`);
  journal.write(from, { type: "outcome", run: running.run, token, id, state, code: name });
}

/** One of several programs, each with its own key, that want the same name at the same moment. Whoever gets it stays for a moment. */
export async function race(
  stage: Stage,
  {
    who,
    name,
    server,
    inside,
    stayMs,
  }: { who: string; name: string; server: string; inside: readonly string[]; stayMs: number },
): Promise<void> {
  const { journal } = stage;
  const env = { PTALK_NAME: name, PTALK_SERVER: server };
  const running = new Running(stage, { who, program: "racer", args: [CLIENT], env, inside });
  const registered = new Promise<boolean>((resolve) => {
    running.onSaid((event) => {
      if (event.type !== "registered") return;
      journal.write(who, { type: "owns", run: running.run, name: event.name, fingerprint: event.fingerprint });
      resolve(true);
    });
    void running.ended.then(() => resolve(false));
  });
  if (!(await startedInTime(stage, running, registered))) return;
  await sleep(stayMs);
  await running.leave(() => running.say(JSON.stringify({ exit: true })), 0);
}
