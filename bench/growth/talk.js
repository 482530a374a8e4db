// The second table: clients as programs use them (TalkClient), in processes. 200 people come and go among few and among many, and the
// server is killed under all. And what a client costs its process when a thousand live in one.
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "../server/client.js";
import { startPtalk } from "../server/programs.js";
import { CAPACITY, WORKERS } from "./raw.js";
import { measured, serverPids, untilOn } from "./server-load.js";

/** Clients on, and the processes that they are in from the last size on. */
const STEPS = [
  { on: 10, processes: 1 },
  { on: 1_000, processes: 1 },
  { on: 2_000, processes: 4 },
];
const VISITORS = 200;
const KIB = 1024;
const US_PER_S = 1e6;

/** A process with clients. */
class Talkers {
  back = 0;
  lost = [];
  #answered = () => {};

  constructor(server) {
    this.child = fork(join(import.meta.dirname, "talkers.js"), [server], {
      execArgv: ["--expose-gc", "--no-warnings"],
    });
    this.child.on("message", (message) => {
      if (message === "back") this.back++;
      else if (message.lost) this.lost.push(message.lost);
      else this.#answered(message.answer);
    });
    this.exited = once(this.child, "exit").then(([status]) => {
      throw new Error(`a process with clients has ended with status ${status}`);
    });
    this.exited.catch(() => {}); // told by the next order
  }

  order(order, values = {}) {
    const answered = new Promise((resolve) => {
      this.#answered = resolve;
    });
    this.child.send({ order, ...values });
    return Promise.race([answered, this.exited]);
  }
}

export async function talkClients(report) {
  const stateDir = mkdtempSync(join(tmpdir(), "ptalk-bench-"));
  let server = await startPtalk(WORKERS, CAPACITY, false, { stateDir });
  const { port } = server;
  let asker = new Client(port);
  const talkers = [];
  const start = () => {
    talkers.push(new Talkers(`127.0.0.1:${port}`));
    return talkers.at(-1);
  };
  const visitors = start();
  for (let i = 0; i < 3; i++) await visitors.order("visit", { count: VISITORS }); // compiles
  let on = 0;
  let alone = 0;
  for (const step of STEPS) {
    const each = (step.on - on) / step.processes;
    const added = await Promise.all(
      Array.from({ length: step.processes }, (_, i) => start().order("grow", { first: on + i * each, count: each })),
    );
    on = step.on;
    await untilOn(asker, on);
    const size = on.toLocaleString("en-US");
    if (on === 1_000) await oneProcess(report, talkers.at(-1), added[0], each);
    let visit;
    const { cpuMs } = await measured(server.pid, async () => {
      visit = await visitors.order("visit", { count: VISITORS });
    });
    await untilOn(asker, on);
    if (alone === 0) alone = visit.ms;
    const name = `${VISITORS} people come and go among ${size} TalkClients`;
    report.row({ name, value: visit.ms / 1000, unit: "s", ratio: alone / visit.ms });
    report.row({ name: "  CPU of the server for these", value: cpuMs / 1000, unit: "s" });
  }
  const died = once(server.child, "exit");
  const at = performance.now();
  for (const pid of serverPids(server.pid)) process.kill(pid, "SIGKILL");
  await died;
  server = await startPtalk(WORKERS, CAPACITY, false, { stateDir, port });
  asker = new Client(port);
  await untilOn(asker, on);
  const took = (performance.now() - at) / 1000;
  report.row({ name: `${on.toLocaleString("en-US")} TalkClients back after SIGKILL`, value: took, unit: "s" });
  const lost = talkers.flatMap((one) => one.lost);
  if (lost.length > 0) throw new Error(`${lost.length} clients have lost their name: ${lost[0]}`);
  for (const { child } of talkers) child.disconnect();
  await Promise.allSettled(talkers.map(({ exited }) => exited));
  asker.socket.destroy();
  await server.stop();
  rmSync(stateDir, { recursive: true, force: true });
}

async function oneProcess(report, talkers, { bytes, descriptors }, clients) {
  const { share } = await talkers.order("idle");
  const name = `a TalkClient among ${clients} of one process`;
  report.row({ name: `${name}: memory`, value: bytes / KIB, unit: "KiB" });
  report.row({ name: `${name}: descriptors`, value: descriptors, unit: "" });
  report.row({ name: `${name}: CPU while nothing happens`, value: (share * US_PER_S) / clients, unit: "us/s" });
}
