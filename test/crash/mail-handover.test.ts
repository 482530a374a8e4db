// Kept messages that follow a recipient from server to server, with a kill of any of three servers after every step, and links that lose
// frames: each message is shown exactly once unless it is marked "again", and an answered one is never lost. A kill is a step that
// never goes on: the next server finds the folder as it is then.
import { AsyncLocalStorage } from "node:async_hooks";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { silentLog } from "../../lib/server/log.ts";
import { MailboxOffice } from "../../lib/server/mailbox-office.ts";
import { MailHandover } from "../../lib/server/peers/mail-handover.ts";
import type { HandMessage, PeerMessage, TookMessage } from "../../lib/server/peers/peer-frames.ts";
import { setStoreFailpoint } from "../../lib/store/failpoint.ts";
import { Random } from "../helpers/random.ts";

const LIMITS = { bytes: 64 * 2 ** 20, ageMs: 3_600_000 };
const SEED = Buffer.alloc(32, 1).toString("base64");
const KEY = Buffer.alloc(32, 2).toString("base64");
const SERVERS = ["a", "b", "c"];
const MESSAGES = 5;
const RUNS = Number(process.env["PTALK_KILL_RUNS"] ?? 12);
/** In this order each of them is where the first kill of a run is. */
const POINTS = [
  ...["hand over sent", "hand over taken", "hand over told", "hand over answered", "handed out", "renamed"],
  ...["unlinked", "created", "written", "file synced", "linked", "folder synced"],
];
/** In which a planted fault shows itself, at the latest. */
const PLANT_RUNS = 60;
/** Steps of servers between two kills, at most. */
const MAX_STEPS = 60;
const LOSS = 0.05;
/** Until a run that is left in peace has to be over; the same where that it never is, is the fault. */
const WATCHDOG_MS = 30_000;
const PLANT_MS = 1_500;
/** Rounds with kills and losses; then the run ends in peace. */
const ROUNDS = 60;
const MAX_ROUNDS = 5_000;

type Plant = "forgets before the answer" | "never marks" | "answers before the disk" | "two at a time";

afterEach(() => setStoreFailpoint(() => {}));

/** One life of a server. */
interface Life {
  readonly name: string;
  readonly office: MailboxOffice;
  readonly handover: MailHandover;
  isDead: boolean;
}

const current = new AsyncLocalStorage<{ life: Life | null }>();

class World {
  readonly #folder = mkdtempSync(join("/dev/shm", "ptalk-handover-"));
  readonly #random: () => number;
  readonly #plant: Plant | undefined;
  readonly #moves: boolean;
  readonly #lives = new Map<string, Life>();
  #bob: string | null = null;
  #stepsLeft = Number.POSITIVE_INFINITY;
  #isPeace = false;
  /** The first kill is there. */
  #target: string | undefined;
  readonly #kept = new Set<string>();
  readonly #repeated = new Set<string>();
  readonly #outputs: { readonly id: string; readonly again: boolean }[] = [];
  readonly #unmarked = new Map<string, number>();
  readonly #logged = new Set<string>();
  #connection = 0;
  kills = 0;
  killedAt = new Map<string, number>();

  constructor(random: () => number, moves: boolean, target: string | undefined, plant: Plant | undefined) {
    this.#target = target;
    this.#random = random;
    this.#moves = moves;
    this.#plant = plant;
  }

  get again(): number {
    return this.#outputs.filter(({ again }) => again).length;
  }

  async play(): Promise<void> {
    setStoreFailpoint((point) => this.#step(point));
    try {
      for (const name of SERVERS) await this.#open(name);
      this.#rest();
      let sent = 0;
      const isWanted = () => sent < MESSAGES || this.#target !== undefined;
      for (let round = 0; round < ROUNDS || (isWanted() && round < MAX_ROUNDS); round++) {
        await this.#revive();
        if (this.#moves ? this.#random() < 0.2 : this.#bob === null && sent > 1) this.#move();
        if (isWanted() && this.#random() < 0.4 && (await this.#leave(`m${1000 + sent}`))) sent++;
        await this.#receive();
        await pause(1);
      }
      this.#isPeace = true;
      this.#target = undefined;
      this.#stepsLeft = Number.POSITIVE_INFINITY;
      await this.#revive();
      this.#bob ??= "b";
      const end = performance.now() + (this.#plant === undefined ? WATCHDOG_MS : PLANT_MS);
      while (!(await this.#isEmpty())) {
        await this.#receive();
        await pause(2);
        if (performance.now() > end) throw new Error(`never empty: ${JSON.stringify(this.#remains())}`);
      }
      this.#judge();
    } finally {
      for (const life of this.#lives.values()) this.#end(life);
      await idle();
      rmSync(this.#folder, { recursive: true, force: true });
    }
  }

  #rest(): void {
    this.#stepsLeft = this.#isPeace ? Number.POSITIVE_INFINITY : Math.floor(this.#random() * MAX_STEPS);
  }

  /** Of the server in whose course it is called. */
  #step(point: string): Promise<void> | void {
    const life = current.getStore()?.life;
    if (life === null || life === undefined) return;
    const isDue = this.#target === undefined ? this.#stepsLeft-- <= 0 : this.#target === point;
    if (!life.isDead && !isDue) return;
    if (!life.isDead) {
      this.#target = undefined;
      this.kills++;
      this.killedAt.set(point, (this.killedAt.get(point) ?? 0) + 1);
      this.#end(life);
      this.#stepsLeft = Number.POSITIVE_INFINITY; // until it is there again
    }
    return new Promise(() => {});
  }

  #end(life: Life): void {
    life.isDead = true;
    life.handover[Symbol.dispose]();
  }

  async #revive(): Promise<void> {
    for (const [name, { isDead }] of this.#lives) {
      if (!isDead) continue;
      await idle(); // what the dead one has begun is done, or never is
      await this.#open(name);
      this.#rest();
    }
  }

  async #open(name: string): Promise<void> {
    const store: { life: Life | null } = { life: null };
    const path = join(this.#folder, name);
    await current.run(store, async () => {
      const office = await MailboxOffice.open({ path, limits: LIMITS, serverSeed: SEED, log: silentLog });
      const handover = new MailHandover({
        server: name,
        office: this.#planted(office),
        links: {
          reach: async (server) => this.#lives.get(server)?.isDead === false,
          send: (server, message) => this.#send(name, server, message),
        },
        serverOf: () => (this.#bob === null || this.#bob === name ? null : this.#bob),
        tell: () => {},
        log: silentLog,
        lookMs: 3,
        answerMs: 100,
      });
      office.onWaiting = (to) => handover.look(to);
      store.life = { name, office, handover, isDead: false };
      this.#lives.set(name, store.life);
    });
  }

  #planted(office: MailboxOffice): MailboxOffice {
    const planted = Object.create(office) as MailboxOffice;
    const bound = <K extends keyof MailboxOffice>(key: K) => (office[key] as (...a: unknown[]) => unknown).bind(office);
    for (const key of ["recipients", "waiting", "takeFor", "gone", "keep", "accept"] as const) {
      Object.assign(planted, { [key]: bound(key) });
    }
    if (this.#plant === "forgets before the answer") {
      planted.takeFor = async (server, to) => {
        const taken = await office.takeFor(server, to);
        if (taken !== undefined) await office.gone(server, taken.name);
        return taken;
      };
    }
    if (this.#plant === "never marks") {
      planted.accept = (message, carried) => office.accept(message, { ...carried, again: false });
    }
    if (this.#plant === "answers before the disk") {
      planted.accept = (message, carried) => {
        void office.accept(message, carried);
        return Promise.resolve(null);
      };
    }
    if (this.#plant === "two at a time") {
      planted.takeFor = async (server, to) => {
        const first = await office.takeFor(server, to);
        const second = await office.takeFor(server, to);
        if (second !== undefined) await office.accept({ ...second.head, to: "nobody", bytes: second.bytes }, second);
        return second ?? first;
      };
    }
    return planted;
  }

  #send(from: string, to: string, message: PeerMessage): boolean {
    if (this.#lives.get(from)?.isDead) return false;
    if (!this.#isPeace && this.#random() < LOSS) return true;
    const life = this.#lives.get(to);
    if (life === undefined || life.isDead) return true;
    setImmediate(() => {
      if (this.#lives.get(to) !== life || life.isDead) return;
      current.run({ life }, () => life.handover.receive(message as HandMessage | TookMessage));
    });
    return true;
  }

  #move(): void {
    const elsewhere = this.#moves ? SERVERS : ["b"];
    this.#bob = elsewhere[Math.floor(this.#random() * elsewhere.length)] ?? null;
  }

  /** Carries something out at a server. @returns undefined: it was killed */
  async #at<T>(name: string, work: (life: Life) => Promise<T>): Promise<T | undefined> {
    const life = this.#lives.get(name);
    if (life === undefined || life.isDead) return undefined;
    let result: { readonly value: T } | undefined;
    void current.run({ life }, async () => {
      result = { value: await work(life) };
    });
    while (result === undefined && !life.isDead) await pause(0);
    return life.isDead ? undefined : result?.value;
  }

  /** @returns false: no answer came, and the sender repeats it */
  async #leave(id: string): Promise<boolean> {
    const server = this.#moves ? (SERVERS[Math.floor(this.#random() * SERVERS.length)] as string) : "a";
    const bytes = Buffer.from(id).toString("base64");
    const message = { to: "bob", id, from: KEY, sender: "alice", account: "uid 1", attested: true, receipt: false };
    const answer = await this.#at(server, ({ office }) => office.answer(1, { op: "leave", ...message, bytes }));
    if (answer?.op === "kept") this.#kept.add(id);
    else this.#repeated.add(id);
    return answer?.op === "kept";
  }

  async #receive(): Promise<void> {
    const server = this.#bob;
    if (server === null) return;
    const connection = ++this.#connection;
    await this.#at(server, async ({ office }) => {
      const answer = await office.answer(1, { op: "take", to: "bob", connection, count: 1 });
      const [taken] = answer.op === "taken" ? answer.messages : [];
      if (taken !== undefined) {
        const id = Buffer.from(taken.bytes, "base64").toString();
        if (!taken.again) this.#unmarked.set(id, (this.#unmarked.get(id) ?? 0) + 1);
        if (!this.#logged.has(id)) this.#outputs.push({ id, again: taken.again });
        this.#logged.add(id);
        await office.answer(1, { op: "done", connection, names: [taken.name], lost: false });
      }
      office.release(1, connection);
    });
  }

  async #isEmpty(): Promise<boolean> {
    await idle();
    return Object.values(this.#remains()).every((files) => files.length === 0);
  }

  #remains(): Record<string, string[]> {
    return Object.fromEntries(SERVERS.map((name) => [name, readdirSync(join(this.#folder, name, "new"))]));
  }

  #judge(): void {
    const shown = this.#outputs.map(({ id }) => id);
    for (const id of this.#kept) if (!shown.includes(id)) throw new Error(`${id}: kept, and lost`);
    for (const [id, count] of this.#unmarked) {
      if (count > 1 && !this.#repeated.has(id)) throw new Error(`${id}: handed out ${count} times unmarked`);
    }
    if (!this.#moves && shown.join() !== [...shown].sort().join()) throw new Error(`out of order: ${shown.join()}`);
  }
}

const pause = (ms: number): Promise<void> =>
  new Promise((resolve) => void (ms === 0 ? setImmediate(resolve) : setTimeout(resolve, ms)));

/** Until no call of the file system is under way. */
async function idle(): Promise<void> {
  do await pause(0);
  while (process.getActiveResourcesInfo().includes("FSReqPromise"));
}

interface Sum {
  kills: number;
  again: number;
  failure: unknown;
  readonly killedAt: Map<string, number>;
}

async function runs(count: number, moves: boolean, plant?: Plant): Promise<Sum> {
  const source = new Random(plant === undefined ? 1 : 2);
  const sum: Sum = { kills: 0, again: 0, failure: undefined, killedAt: new Map() };
  for (let i = 0; i < count && sum.failure === undefined; i++) {
    const world = new World(() => source.next(), moves, POINTS[i % POINTS.length], plant);
    await world.play().catch((failure: unknown) => {
      sum.failure = failure;
    });
    sum.kills += world.kills;
    sum.again += world.again;
    for (const [point, times] of world.killedAt) sum.killedAt.set(point, (sum.killedAt.get(point) ?? 0) + times);
  }
  return sum;
}

it("loses nothing and hands out nothing twice unmarked, through kills at every step, wherever the recipient goes", async () => {
  const { kills, failure, killedAt } = await runs(RUNS, true);
  expect(failure).toBeUndefined();
  expect(kills).toBeGreaterThanOrEqual(RUNS);
  expect([...killedAt.keys()].sort()).toEqual([...POINTS].sort());
});

it("keeps the order of what was left at one server for a recipient who stays at another", async () => {
  const { kills, again, failure } = await runs(RUNS, false);
  expect(failure).toBeUndefined();
  expect(kills).toBeGreaterThan(RUNS);
  expect(again).toBeGreaterThan(0);
});

it.each([
  ["forgets before the answer", "lost"],
  ["never marks", "unmarked"],
  ["answers before the disk", "lost"],
  ["two at a time", "never empty"],
] as const)("a planted fault is found: %s", async (plant, found) => {
  const { failure } = await runs(PLANT_RUNS, true, plant);
  expect(String(failure)).toContain(found);
});
