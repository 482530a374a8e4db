// A run with one server, whose clients all are on its host, each behind a link of its own. Knows what to do to whom.
import { spawn } from "node:child_process";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SETTLE_MS } from "./check.ts";
import { CUTS, DatagramFilter, Link, type Loss } from "./links.ts";
import { Member, ServerDriver } from "./programs.ts";
import { type Cast, type FaultAct, type Kind, ofOneServer } from "./schedule.ts";
import { plantIn, signal, stopFor, stopProcess, World, type WorldOptions } from "./world.ts";

const PTALK = join(import.meta.dirname, "../../bin/ptalk.js");
const LONG_MS = 30_000;
const SHORT_MS = 5_000;

const ANN = { name: "ann", program: "talk" } as const;
const BEN = { name: "ben", program: "lib" } as const;
const MEMBERS = [
  ANN,
  BEN,
  { name: "cat", program: "talk" },
  { name: "dan", program: "lib" },
  { name: "eve", program: "recv" },
] as const;
/** Is never on. */
const FAY = "fay";
const CAST: Cast = {
  talkers: MEMBERS.filter(({ program }) => program !== "recv").map(({ name }) => name),
  members: MEMBERS.map(({ name }) => name),
  elders: [ANN.name, BEN.name],
  senders: [FAY, "cat"],
  messageEveryMs: 350,
};

export const PLANTS = ["loss", "double", "swap", "unverified", "leak"] as const;
export type Plant = (typeof PLANTS)[number];

export interface RunOptions extends WorldOptions {
  readonly kinds: readonly Kind[];
  readonly plants: readonly Plant[];
  /** This network namespace and /dev/shm are the run's own: datagrams can be filtered, and every object is ours. */
  readonly isolated: boolean;
}

export class OneServer extends World<Kind> {
  readonly #server: ServerDriver;
  readonly #plants: readonly Plant[];
  readonly #isolated: boolean;
  readonly #links = new Map<string, Link>();
  readonly #filter = new DatagramFilter();

  constructor(options: RunOptions) {
    super(options, {
      cast: CAST,
      faults: ofOneServer(CAST, options.kinds),
      settleMs: SETTLE_MS,
      cycleMinutes: 1,
      timeouts: [LONG_MS, SHORT_MS],
    });
    this.#plants = options.plants;
    this.#isolated = options.isolated;
    const place = { name: "server", address: "127.0.0.1", port: 0, inside: [], options: options.serve };
    this.#server = new ServerDriver(this, place);
  }

  override async end(): Promise<void> {
    await super.end();
    for (const link of this.#links.values()) link.close();
    rmSync(this.#leftover, { force: true });
  }

  /** What the planted leak leaves in shared memory. */
  get #leftover(): string {
    return `/dev/shm/ptalk-server-${this.#server.port}-0.planted`;
  }

  protected async begin(): Promise<void> {
    await this.#server.start();
    for (const name of [...CAST.members, FAY]) this.#links.set(name, await Link.open(() => this.#server.port));
    for (const { name, program } of MEMBERS) {
      const { inside } = this.placeOf(name);
      const server = () => this.placeOf(name).server;
      this.members.set(name, new Member(this, { name, program, server, inside, timeouts: [LONG_MS, SHORT_MS] }));
    }
  }

  protected async finish(): Promise<void> {
    await this.#server.stop();
    const files = readdirSync("/dev/shm").filter((file) => this.#isolated || this.#isOurs(file));
    this.journal.write("world", { type: "left-behind", files });
  }

  #isOurs(file: string): boolean {
    return file.includes(`ptalk-server-${this.#server.port}-`);
  }

  protected placeOf(name: string): { server: string; inside: readonly string[] } {
    return { server: `127.0.0.1:${this.#links.get(name)?.port}`, inside: [] };
  }

  protected async fault(act: FaultAct<Kind>): Promise<void> {
    switch (act.kind) {
      case "primary":
      case "restart":
        return this.#restartServer(act);
      case "worker":
        return this.#killWorker(act);
      case "client":
        return this.restartMember(act, "killed");
      case "leave":
        return this.restartMember(act, "left");
      case "link":
        return this.#cutLinks(act);
      case "datagrams":
        return this.#loseDatagrams(act);
      case "stop":
        return this.#stop(act);
    }
  }

  async #restartServer(act: FaultAct<Kind>): Promise<void> {
    const { up, starting } = this.#server;
    if (up === undefined && starting && act.kind === "primary") {
      return this.during(act, "server", async () => starting.kill());
    }
    if (up === undefined) return;
    await this.during(act, "server", async () => {
      await (act.kind === "primary" ? this.#server.kill() : this.#server.stop());
      await this.pause(act.forMs / 2);
      await this.#server.start();
    });
  }

  async #killWorker(act: FaultAct<Kind>): Promise<void> {
    const pid = this.#worker(act);
    if (pid !== undefined) await this.during(act, "server", async () => signal(pid, "SIGKILL"));
  }

  #worker({ choice }: FaultAct<Kind>): number | undefined {
    const workers = this.#server.workers;
    return workers[Math.floor(choice * workers.length)];
  }

  async #cutLinks(act: FaultAct<Kind>): Promise<void> {
    const cut = CUTS[Math.floor(act.choice * CUTS.length)] as (typeof CUTS)[number];
    const links = act.target === "*" ? [...this.#links.values()] : [this.#links.get(act.target)];
    await this.during(act, act.target, async () => {
      for (const link of links) link?.cut(cut);
      await this.pause(act.forMs);
      for (const link of links) link?.mend(cut);
    });
  }

  async #loseDatagrams(act: FaultAct<Kind>): Promise<void> {
    if (!this.#isolated) return;
    const losses = act.target === "*" ? [{ percent: 10 + Math.floor(act.choice * 40) }] : this.#cutOff(act);
    if (losses.length === 0) return;
    await this.during(act, act.target, async () => {
      await Promise.all(losses.map((loss) => this.#filter.lose(loss)));
      await this.pause(act.forMs);
      await Promise.all(losses.map((loss) => this.#filter.mend(loss)));
    });
  }

  /** What a member sends, what it is sent, or both. */
  #cutOff({ target, choice }: FaultAct<Kind>): Loss[] {
    const member = this.member(target);
    if (member.on === undefined) return [];
    const [from, to] = [{ from: member.port }, { to: member.port }];
    return choice < 1 / 3 ? [from] : choice < 2 / 3 ? [to] : [from, to];
  }

  async #stop(act: FaultAct<Kind>): Promise<void> {
    const member = this.members.get(act.target);
    const running = member ? member.on : this.#server.up;
    const pid = act.target === "worker" ? this.#worker(act) : running?.pid;
    if (pid === undefined || running === undefined || running.stopped) return;
    await this.during(act, member ? member.name : "server", () => {
      const pause = () => this.pause(act.forMs);
      return act.target === "worker" ? stopProcess(pid, pause) : stopFor(running, pause);
    });
  }

  /** Whom the server lists, beside whoever is on. */
  protected async people(): Promise<void> {
    const listed = await peopleOf(`127.0.0.1:${this.#server.port}`);
    this.journal.write("world", { type: "people", expected: this.present, listed });
  }

  protected roles(): [string, number[]][] {
    const primary = this.#server.up;
    return [
      ...(primary ? ([["primary", [primary.pid]]] as [string, number[]][]) : []),
      ["workers", this.#server.workers],
    ];
  }

  /** In ben's program. */
  protected async plantAll(): Promise<void> {
    for (const plant of this.#plants) {
      this.journal.write("world", { type: "planted", plant });
      if (plant === "leak") writeFileSync(this.#leftover, "");
      await plantIn(plant, this.member(BEN.name), this.member(ANN.name), () => this.pause(1_000));
    }
  }
}

/** The names that `ptalk all` prints; none if it fails. */
async function peopleOf(server: string): Promise<string[]> {
  const child = spawn(process.execPath, [PTALK, "all", "--json", "--server", server], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return code === 0 ? (JSON.parse(output) as { name: string }[]).map(({ name }) => name) : [];
}
