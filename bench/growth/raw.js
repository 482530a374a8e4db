// Connections that speak the protocol and no more, each registered and each watching its own interests: eight names and a room.
// Two servers run side by side, one of which stays empty: each round asks both, so that whatever else the machine does meets both.
import { Identity } from "../../dist/crypto/identity.js";
import { Client } from "../server/client.js";
import { median, startPtalk } from "../server/programs.js";
import { inParallel, measured, untilOn } from "./server-load.js";

export const WORKERS = 2;
export const CAPACITY = 16_384;
const SIZES = [0, 500, 2_000, 5_000, 10_000];
const AT_ONCE = 50;
const ROUNDS = 7;
/** Rounds in which the programs compile what they do most. */
const WARM_UP = 4;
const REGISTRATIONS = 500;
const VISITORS = 100;
/** Of each visitor, and of each client. */
const WATCHERS = 8;
/** Clients whose key is the same: making one costs the load as much as using it. */
const KEYS = 64;
const ROOM_SIZE = 20;
const MIB = 2 ** 20;

const keys = Array.from({ length: KEYS }, () => Identity.generate());
let round = 0;

/** A server, and the clients that are on at it. */
export class Crowd {
  static async start(options = {}) {
    const crowd = new Crowd();
    crowd.server = await startPtalk(WORKERS, CAPACITY, false, options);
    crowd.asker = new Client(crowd.server.port);
    return crowd;
  }

  clients = [];

  get pid() {
    return this.server.pid;
  }

  /** Until so many are on. */
  async growTo(size) {
    const first = this.clients.length;
    this.clients.push(...(await inParallel(size - first, AT_ONCE, (i) => this.enter(first + i))));
    await untilOn(this.asker, size);
  }

  /** Takes the crowd's place of that number: each watches the visitors and neighbours that are its own, and its room. */
  async enter(index) {
    const client = await this.join(`client${index}`, index);
    const neighbours = Array.from({ length: WATCHERS - 1 }, (_, k) => `client${Math.max(0, index - k - 1)}`);
    const visitor = index < VISITORS * WATCHERS ? [`visitor${index % VISITORS}`] : [];
    await client.ask("WATCH", ...neighbours, ...visitor, `#room${Math.floor(index / ROOM_SIZE)}`);
    return client;
  }

  async join(name, index) {
    const client = new Client(this.server.port);
    await client.register(name, keys[index % KEYS]);
    return client;
  }

  /** Registers new names, and lets them go again. @returns {rate, cpuUs} of a registration */
  async registrations() {
    const name = `guest${++round}-`;
    let guests = [];
    const { ms, cpuMs } = await measured(this.pid, async () => {
      guests = await inParallel(REGISTRATIONS, AT_ONCE, (i) => this.join(`${name}${i}`, i));
    });
    await this.#leave(guests);
    return { rate: (REGISTRATIONS / ms) * 1000, cpuUs: (cpuMs / REGISTRATIONS) * 1000 };
  }

  /** A hundred people come and go, each watched by eight. */
  async visits() {
    const before = this.#received();
    const { ms, cpuMs } = await measured(this.pid, async () => {
      await this.#leave(await inParallel(VISITORS, AT_ONCE, (i) => this.join(`visitor${i}`, i)));
      // Their pushes have left by the time that later answers come.
      await Promise.all(this.clients.slice(0, VISITORS * WATCHERS).map((client) => client.ask("PING")));
    });
    return { ms, cpuMs, bytes: this.#received() - before };
  }

  async #leave(guests) {
    for (const guest of guests) guest.socket.destroy();
    await untilOn(this.asker, this.clients.length);
  }

  #received() {
    return this.clients.reduce((sum, { socket }) => sum + socket.bytesRead, 0);
  }

  async stop() {
    for (const { socket } of this.clients) socket.destroy();
    this.asker.socket.destroy();
    await this.server.stop();
  }
}

/** The first table. @returns [{on, rate, cpuUs}], for the plot */
export async function rawConnections(report) {
  const [empty, full] = [await Crowd.start(), await Crowd.start()];
  const points = [];
  for (let i = 0; i < WARM_UP; i++) for (const crowd of [empty, full]) await crowd.registrations();
  for (const size of SIZES) {
    await full.growTo(size);
    await full.registrations();
    const rounds = [];
    for (let i = 0; i < ROUNDS; i++) {
      const turns = i % 2 === 0 ? [empty, full] : [full, empty];
      const found = new Map();
      for (const crowd of turns) found.set(crowd, await crowd.registrations());
      rounds.push({ alone: found.get(empty), among: found.get(full) });
    }
    const middle = (pick) => median(rounds.map(pick));
    const point = { on: size, rate: middle(({ among }) => among.rate), cpuUs: middle(({ among }) => among.cpuUs) };
    points.push(point);
    const ratio = middle(({ alone, among }) => among.rate / alone.rate);
    const on = `${size.toLocaleString("en-US")} on`;
    const isLast = size === SIZES.at(-1);
    const promise = isLast ? { target: ">= 0.9x with nobody on", met: ratio >= 0.9 } : {};
    report.row({ name: `registrations, ${on}`, value: point.rate, unit: "/s", ratio, ...promise });
    report.row({ name: `registration, ${on}: CPU of the server`, value: point.cpuUs, unit: "us" });
    const visits = [await full.visits(), await full.visits(), await full.visits()];
    const visit = (field) => median(visits.map((one) => one[field]));
    report.row({ name: `${VISITORS} people come and go, ${on}`, value: visit("ms"), unit: "ms" });
    report.row({ name: `pushed for these, ${on}`, value: visit("bytes") / MIB, unit: "MiB" });
    const cpuEach = visit("cpuMs") / VISITORS / 2;
    const each = isLast ? { target: "< 1 ms", met: cpuEach < 1 } : {};
    report.row({ name: `one comes or goes, ${on}: CPU of the server`, value: cpuEach, unit: "ms", ...each });
  }
  await empty.stop();
  await full.stop();
  return points;
}
