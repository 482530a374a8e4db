// A run with three servers and their directory in three etcd members, and people at four more hosts: each host is a network namespace with
// a /dev/shm of its own. Knows what to do to whom.
import { encodeRow, Keys } from "../../lib/directory/etcd/keys.ts";
import { EtcdCluster } from "../helpers/etcd.ts";
import { newKeys } from "../helpers/lookup-server.ts";
import { Random } from "../helpers/random.ts";
import { SETTLE_MS } from "./check.ts";
import { EngineHistory, Lookout } from "./lookout.ts";
import {
  ANN,
  BEN,
  type DirectoryKind,
  ETCDS,
  HOSTS,
  hits,
  hostOf,
  MANY_CAST,
  MEMBERS,
  ofManyServers,
  others,
  SERVERS,
} from "./many-cast.ts";
import { Network, type Place } from "./network.ts";
import { Member, race, ServerDriver } from "./programs.ts";
import type { FaultAct } from "./schedule.ts";
import { plantIn, signal, stopFor, stopProcess, World, type WorldOptions } from "./world.ts";

/**
 * Milliseconds after which everything has to be as before: a dead server's lease, one more for a change of etcd's leader, and what clients
 * take to come back.
 */
export const DIRECTORY_SETTLE_MS = 25_000;
const LONG_MS = 30_000;
const SHORT_MS = 10_000;
const PREFIX = "/ptalk";
const [PORT, PEER_PORT] = [5518, 5519];

const ROOMS = ["#ops", "#lab"];
/** Programs that want one name at once. */
const RACERS = 3;

/** Planted where nothing disturbs, before everybody is counted or after: what is disturbed may be removed, and may be hidden. */
const IN_CALM: ReadonlyMap<string, boolean | null> = new Map([
  ["late", null], // see deed()
  ["foreign-row", null], // see people()
  ["hidden", false],
  ["removed", true],
]);
/** Until every server shows a row: there is nothing else to do. */
const SHOWN_MS = 1_000;
/** Beyond those names that are just coming back. */
const LIES = 20;
export const DIRECTORY_PLANTS = [
  ...["loss", "double", "swap", "unverified", "leak"],
  ...["late", "two-keys", "unbacked", "ghost", "removed", "hidden", "foreign-row"],
] as const;

export interface ManyServersOptions extends WorldOptions {
  readonly kinds: readonly DirectoryKind[];
}

interface Site {
  readonly place: Place;
  readonly driver: ServerDriver;
  readonly lookout: Lookout;
}

export class ManyServers extends World<DirectoryKind> {
  readonly #network = new Network();
  readonly #places = new Map<string, Place>();
  readonly #sites = new Map<string, Site>();
  #etcd: EtcdCluster | undefined;
  #history: EngineHistory | undefined;
  #races = 0;
  #deeds = 0;
  /** Etcd members that a fault has killed, and will start again. */
  readonly #down = new Set<number>();

  constructor(options: ManyServersOptions) {
    super(options, {
      cast: MANY_CAST,
      faults: ofManyServers(options.kinds),
      settleMs: DIRECTORY_SETTLE_MS,
      cycleMinutes: 2,
      timeouts: [LONG_MS, SHORT_MS],
    });
  }

  override async end(): Promise<void> {
    this.#history?.end();
    for (const { lookout } of this.#sites.values()) lookout.end();
    await super.end();
    await this.#etcd?.[Symbol.asyncDispose]();
    this.#etcd = undefined;
  }

  protected async begin(): Promise<void> {
    for (const name of [...ETCDS, ...SERVERS, ...HOSTS]) this.#places.set(name, await this.#network.add(name));
    this.#etcd = await EtcdCluster.start({ nodes: ETCDS.length, hosts: ETCDS.map((name) => this.#place(name)) });
    const { members } = this.#etcd;
    this.#history = new EngineHistory(this.journal, PREFIX, members);
    void this.#history.follow();
    for (const name of SERVERS) await this.#addServer(name, `etcd://${members.join(",")}${PREFIX}`);
    for (const { name, program } of MEMBERS) {
      const { server, inside } = this.placeOf(name);
      const timeouts = [LONG_MS, SHORT_MS];
      this.members.set(name, new Member(this, { name, program, server: () => server, inside, timeouts }));
    }
  }

  async #addServer(name: string, directory: string): Promise<void> {
    const place = this.#place(name);
    const { address } = place;
    const options = [
      "--tls",
      "--directory",
      directory,
      "--peer-listen",
      `${address}:${PEER_PORT}`,
      ...this.options.serve,
    ];
    const driver = new ServerDriver(this, { ...place, port: PORT, options });
    const lookout = new Lookout(this.journal, name, address, PORT);
    this.#sites.set(name, { place, driver, lookout });
    await driver.start();
    void lookout.watch(MANY_CAST.members, new Random(this.options.seed + SERVERS.indexOf(name)));
  }

  #place(name: string): Place {
    const place = this.#places.get(name);
    if (place === undefined) throw new Error(`no host ${name}`);
    return place;
  }
  #site(name: string): Site {
    const site = this.#sites.get(name);
    if (site === undefined) throw new Error(`no server ${name}`);
    return site;
  }
  #addressOf(name: string): string {
    return `${this.#place(name).address}:${PORT}`;
  }
  get #engine(): EtcdCluster {
    if (this.#etcd === undefined) throw new Error("etcd is gone");
    return this.#etcd;
  }

  /** All know all servers, each in an order of its own. */
  protected placeOf(name: string): { server: string; inside: readonly string[] } {
    const at = Math.max(0, MANY_CAST.members.indexOf(name));
    return { server: this.#serversFrom(at), inside: this.#place(hostOf(name)).inside };
  }
  #serversFrom(at: number): string {
    return SERVERS.map((_, i) => this.#addressOf(SERVERS[(at + i) % SERVERS.length] as string)).join(",");
  }

  protected async fault(act: FaultAct<DirectoryKind>): Promise<void> {
    switch (act.kind) {
      case "etcd":
        return this.#killEtcd(act);
      case "etcd-stop":
        return this.#stopEtcd(act);
      case "etcd-cut":
        return this.#cutEtcd(act);
      case "compaction":
        return this.#compact();
      case "primary":
      case "restart":
        return this.#restartServer(act);
      case "worker":
        return this.#killWorker(act);
      case "stop":
        return this.#stop(act);
      case "engine-cut":
        return this.#cut(act, [act.target], act.choice < 1 / 2 ? ETCDS : [pick(ETCDS, act.choice * 2 - 1)]);
      case "peer-cut":
        return this.#cut(act, [act.target], [pick(others(SERVERS, act.target), act.choice)]);
      case "server-cut":
        return this.#cut(
          act,
          [act.target],
          act.choice < 1 / 4 ? SERVERS : [pick(SERVERS, (act.choice * 4) / 3 - 1 / 3)],
        );
      case "path-cut":
        return this.#cut(act, [act.target], [pick(others(HOSTS, act.target), act.choice)]);
      case "cable":
        return this.#pullCable(act);
      case "client":
        return this.restartMember(act, "killed");
      case "leave":
        return this.restartMember(act, "left");
      case "takeover":
        return this.takeOver(act);
      case "room":
        return this.member(act.target).changeRoom(pick(ROOMS, act.choice));
      case "race":
        return this.#race(act);
    }
  }

  /** One of them; the leader, as often as not. */
  async #etcdOf({ choice }: FaultAct<DirectoryKind>): Promise<number> {
    const leader = choice < 1 / 2 ? await this.#leader() : undefined;
    return leader ?? Math.floor(choice * ETCDS.length);
  }

  async #leader(): Promise<number | undefined> {
    const isLeader = await Promise.all(
      ETCDS.map(async (_, i) => {
        const words = ["--dial-timeout", "1s", "--command-timeout", "1s", "endpoint", "status", "-w", "json"];
        const said = await this.#engine.ctl(words, i).catch(() => "[]");
        const { Status } =
          (JSON.parse(said) as { Status: { header: { member_id: number }; leader: number } }[])[0] ?? {};
        return Status !== undefined && Status.header.member_id === Status.leader;
      }),
    );
    const at = isLeader.indexOf(true);
    return at < 0 ? undefined : at;
  }

  async #killEtcd(act: FaultAct<DirectoryKind>): Promise<void> {
    const index = await this.#etcdOf(act);
    if (this.#down.has(index) || this.over) return;
    this.#down.add(index);
    const work = async () => {
      await this.#engine.kill(index);
      await this.pause(act.forMs);
      if (!this.over) await this.#engine.startNode(index);
    };
    await this.during(act, ETCDS[index] as string, work, EVERYBODY);
    this.#down.delete(index);
  }

  async #stopEtcd(act: FaultAct<DirectoryKind>): Promise<void> {
    const index = await this.#etcdOf(act);
    if (this.#down.has(index) || this.over) return;
    const pid = this.#engine.pid(index);
    const work = () => stopProcess(pid, () => this.pause(act.forMs));
    await this.during(act, ETCDS[index] as string, work, EVERYBODY);
  }

  /** From the other members; half of the time the servers hear all of them still, else those of the first are cut off with it. */
  async #cutEtcd(act: FaultAct<DirectoryKind>): Promise<void> {
    const alone = ETCDS[await this.#etcdOf(act)] as string;
    const rest = others(ETCDS, alone);
    const along = (act.choice * 4) % 1 < 1 / 2 ? [] : [pick(SERVERS, (act.choice * 8) % 1)];
    const far = along.length === 0 ? rest : [...rest, ...others(SERVERS, along[0] as string)];
    const work = async () => {
      await this.#network.cut([alone, ...along], far);
      await this.pause(act.forMs);
      await this.#network.mend([alone, ...along], far);
    };
    await this.during(act, [alone, ...along].join("+"), work, [...EVERYBODY, ...along]);
  }

  /** Up to what the history has seen: servers that are cut off have not. */
  async #compact(): Promise<void> {
    const revision = this.#history?.revision ?? 0;
    await this.#engine.ctl(["--command-timeout", "2s", "compaction", String(revision)]).catch(() => {});
  }

  async #restartServer(act: FaultAct<DirectoryKind>): Promise<void> {
    const { driver } = this.#site(act.target);
    const { up, starting } = driver;
    const isKill = act.kind === "primary";
    if (up === undefined && starting && isKill) {
      return this.during(act, act.target, async () => starting.kill(), EVERYBODY);
    }
    if (up === undefined || (up.stopped && !isKill)) return;
    const work = async () => {
      await (isKill ? driver.kill() : driver.stop());
      await this.pause(act.forMs / 2);
      await driver.start();
    };
    await this.during(act, act.target, work, EVERYBODY);
  }

  async #killWorker(act: FaultAct<DirectoryKind>): Promise<void> {
    const { workers } = this.#site(act.target).driver;
    if (workers.length === 0) return;
    const pid = pick(workers, act.choice);
    await this.during(act, act.target, async () => signal(pid, "SIGKILL"), ["server"]);
  }

  /** A server's primary or one of its workers, or a client. */
  async #stop(act: FaultAct<DirectoryKind>): Promise<void> {
    const pause = () => this.pause(act.forMs);
    const site = this.#sites.get(act.target);
    const running = site ? site.driver.up : this.member(act.target).on;
    if (running === undefined || running.stopped) return;
    if (site && act.choice < 1 / 2 && site.driver.workers.length > 0) {
      const pid = pick(site.driver.workers, act.choice * 2);
      return this.during(act, act.target, () => stopProcess(pid, pause), EVERYBODY);
    }
    await this.during(act, act.target, () => stopFor(running, pause), site ? EVERYBODY : []);
  }

  async #cut(act: FaultAct<DirectoryKind>, some: readonly string[], far: readonly string[]): Promise<void> {
    const work = async () => {
      await this.#network.cut(some, far);
      await this.pause(act.forMs);
      await this.#network.mend(some, far);
    };
    const ends = [...some, ...far];
    await this.during(act, `${some}-${far.join("+")}`, work, [...hits(ends), ...ends.filter(isServer)]);
  }

  async #pullCable(act: FaultAct<DirectoryKind>): Promise<void> {
    const work = async () => {
      this.#network.pull(act.target);
      await this.pause(act.forMs);
      this.#network.putBack(act.target);
    };
    await this.during(act, act.target, work, hits([act.target]));
  }

  /** Several programs want a new name at once, each at another server. */
  async #race(act: FaultAct<DirectoryKind>): Promise<void> {
    const name = `race-${++this.#races}`;
    const racers = Array.from({ length: RACERS }, (_, i) => ({
      ...{ who: `${name}.${i}`, name, server: this.#serversFrom(i), stayMs: act.forMs / 2 },
      inside: this.#place(HOSTS[i % HOSTS.length] as string).inside,
    }));
    await this.during(act, name, async () => void (await Promise.all(racers.map((racer) => race(this, racer)))));
  }

  /** A server is killed, or falls silent, and its clients have to come back at others: with nothing else in their way they do in time. */
  protected override async deed(): Promise<void> {
    const isKill = this.#deeds++ % 2 === 0;
    const used = SERVERS.filter((name) => this.#namesAt(name).length > 0);
    const server = this.random.pick(used.length > 0 ? used : SERVERS);
    const clients = this.#namesAt(server);
    const { driver } = this.#site(server);
    const kind = isKill ? "primary" : "cable";
    const work = async () => {
      if (this.options.plants.includes("late")) this.journal.write("world", { type: "planted", plant: "late" });
      else if (isKill) await driver.kill();
      else this.#network.pull(server);
      const startedAt = performance.now();
      const end = startedAt + (isKill ? SETTLE_MS : DIRECTORY_SETTLE_MS);
      while (this.#namesAt(server).length > 0 && performance.now() < end && !this.over) await this.pause(20);
      const [ms, missing] = [performance.now() - startedAt, this.#namesAt(server)];
      this.journal.write("world", { type: "back", server, how: kind, clients: clients.length, ms, missing });
      if (isKill && driver.up === undefined) await driver.start();
      if (!isKill && !this.options.plants.includes("late")) this.#network.putBack(server);
    };
    await this.during({ type: "fault", at: 0, kind, target: server, forMs: 0, choice: 0 }, server, work, EVERYBODY);
  }

  /** Of those who are on. */
  #namesAt(server: string): string[] {
    const { present } = this;
    return this.#history?.namesAt(server).filter((name) => present.includes(name)) ?? [];
  }

  protected async people(): Promise<void> {
    if (this.options.plants.includes("foreign-row")) {
      this.journal.write("world", { type: "planted", plant: "foreign-row" });
      await this.#putRow("foreign-row", true); // its server removes it after a while
      await this.pause(SHOWN_MS);
    }
    for (const [server, { lookout }] of this.#sites) {
      this.journal.write("world", { type: "people", server, expected: this.present, listed: await lookout.list() });
      for (const room of ROOMS) {
        const expected = this.all.filter(({ on, rooms }) => on && rooms.includes(room)).map(({ name }) => name);
        this.journal.write("world", { type: "people", server, room, expected, listed: await lookout.list(room) });
      }
    }
  }

  protected roles(): [string, number[]][] {
    return [...this.#sites].flatMap(([name, { driver }]): [string, number[]][] => [
      ...(driver.up ? ([[name, [driver.up.pid]]] as [string, number[]][]) : []),
      [`${name} workers`, driver.workers],
    ]);
  }

  protected async finish(): Promise<void> {
    // What the history has not told yet would be missing in it.
    const last = JSON.parse(await this.#engine.ctl(["get", "-w", "json", `${PREFIX}/`])) as {
      header: { revision: number };
    };
    for (const { driver } of this.#sites.values()) await driver.stop();
    await this.#history?.until(last.header.revision);
    this.journal.write("world", { type: "left-behind", files: this.#network.leftBehind() });
  }

  /** In ben's program, in the engine behind the servers' backs, and in what a lookout writes down. */
  protected async plantAll(): Promise<void> {
    for (const plant of this.options.plants) {
      if (IN_CALM.has(plant)) continue;
      this.journal.write("world", { type: "planted", plant });
      await this.#plant(plant);
    }
  }

  protected override async plantInCalm(isSettled: boolean): Promise<void> {
    for (const plant of this.options.plants) {
      if (IN_CALM.get(plant) !== isSettled) continue;
      this.journal.write("world", { type: "planted", plant });
      if (plant === "hidden") this.#site("s1").lookout.lies = LIES;
      else await this.#deleteRow(BEN.name);
    }
  }

  async #plant(plant: string): Promise<void> {
    const pause = () => this.pause(1_000);
    switch (plant) {
      case "two-keys":
        await this.#putRow("two-keys", true);
        await this.#putRow("two-keys", true);
        return this.#deleteRow("two-keys");
      case "unbacked": {
        const told = { type: "owns", run: this.nextRun(), name: plant, fingerprint: "SHA256:planted" } as const;
        return this.journal.write("world", told);
      }
      case "ghost":
        return this.#putRow("ghost", false);
      case "leak":
        this.#network.leave("s1", "ptalk-server-planted");
    }
    await plantIn(plant, this.member(BEN.name), this.member(ANN.name), pause);
  }

  /** A row that no server has written, like others but under a new key. @param isAlive in the name of a server that is alive */
  async #putRow(name: string, isAlive: boolean): Promise<void> {
    const lease = this.journal.entries.findLast((entry) => entry.type === "lease" && entry.isThere);
    const like = this.#history?.row;
    if (lease?.type !== "lease" || !like) throw new Error("no server is there");
    const row = encodeRow({
      packed: { ...like.packed, name, key: newKeys().key },
      claimId: "planted-planted-",
      server: `${lease.server}:${PORT}`,
      incarnation: isAlive ? lease.incarnation : "planted",
      place: { worker: 0, connection: 1 },
    });
    await this.#engine.ctl(["put", new Keys(PREFIX).row(name), Buffer.from(row).toString()]);
  }
  async #deleteRow(name: string): Promise<void> {
    await this.#engine.ctl(["del", new Keys(PREFIX).row(name)]);
  }
}

const EVERYBODY = ["*"];

const pick = <T>(list: readonly T[], choice: number): T => list[Math.floor(Math.max(0, choice) * list.length)] as T;
const isServer = (name: string): boolean => SERVERS.includes(name);
