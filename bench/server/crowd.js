// The lookup server with 10,000 clients on: what they cost it while they are silent, and whom ALL keeps waiting.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { Identity } from "../../dist/crypto/identity.js";
import { Client } from "./client.js";
import { cpuSeconds, load, median, pause, residentBytes, startPtalk, workerPids } from "./programs.js";

const CROWD = 10_000;
const CROWD_AT_ONCE = 100;
const IDLE_MS = 3_000;
const KIB = 1024;

export async function crowd(report) {
  const ptalk = await startPtalk(2, 16_384, false);
  const first = new Client(ptalk.port);
  const identity = Identity.generate();
  await first.register("bob", identity);
  const pids = [ptalk.pid, ...(await workerPids(first))];
  const memory = () => pids.reduce((sum, pid) => sum + residentBytes(pid), 0);
  const lookupRate = () =>
    median([1, 2, 3].map(() => load(ptalk.port, ptalk.pid, 20_000, ["-c", "20"], ["LOOKUP", "bob"]).rate));
  const [memoryBefore, rateBefore] = [memory(), lookupRate()];

  const serverCpu = () => pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  const [began, cpuAtStart] = [performance.now(), serverCpu()];
  const clients = [];
  for (let i = 0; i < CROWD; i += CROWD_AT_ONCE) {
    const some = Array.from({ length: CROWD_AT_ONCE }, () => new Client(ptalk.port));
    await Promise.all(some.map((client, j) => client.register(`crowd${i + j}`, identity)));
    clients.push(...some);
  }
  const took = (performance.now() - began) / 1000;
  const cpuEach = ((serverCpu() - cpuAtStart) / CROWD) * 1e6;
  report.row({ name: `registered and connected`, value: await first.ask("COUNT"), unit: "clients" });
  report.row({ name: "registrations", value: CROWD / took, unit: "/s" });
  report.row({ name: "registration: CPU of the server", value: cpuEach, unit: "us" });
  const each = (memory() - memoryBefore) / CROWD / KIB;
  report.row({ name: "server memory a client", value: each, unit: "KiB", target: "< 40 KiB", met: each < 40 });

  await pause(1_000);
  const cpuBefore = serverCpu();
  await pause(IDLE_MS);
  const idle = ((serverCpu() - cpuBefore) / (IDLE_MS / 1000)) * 100;
  report.row({ name: `idle CPU, ${CROWD} clients`, value: idle, unit: "% of a core", target: "< 2 %", met: idle < 2 });

  const rateAfter = lookupRate();
  report.row({ name: "LOOKUP -c 20, nobody else on", value: rateBefore, unit: "/s" });
  report.row({ name: `LOOKUP -c 20, ${CROWD} on`, value: rateAfter, unit: "/s", ratio: rateAfter / rateBefore });

  await all(report, ptalk.port, first);
  for (const client of clients) client.socket.destroy();
  first.socket.destroy();
  await ptalk.stop();
}

/** Connections at both workers ask PING one after the other, while ALL is answered: the longest wait bounds the loop's. */
async function all(report, port, client) {
  const pingers = Array.from({ length: 4 }, () => new Client(port));
  const worst = async (until) => {
    let longest = 0;
    let over = false;
    void until.then(() => {
      over = true;
    });
    await Promise.all(
      pingers.map(async (pinger) => {
        while (!over) {
          const at = performance.now();
          await pinger.ask("PING");
          longest = Math.max(longest, performance.now() - at);
          await pause(1);
        }
      }),
    );
    return longest;
  };
  await client.ask("INFO"); // begins to watch the workers' loops
  const idle = await worst(pause(500));
  const redisCli = () => once(spawn("redis-cli", ["-p", String(port), "ALL"], { stdio: "ignore" }), "exit");
  const busy = await worst(
    (async () => {
      for (let i = 0; i < 5; i++) await redisCli(); // its own process: its parsing must not show here
    })(),
  );
  const delays = [...(await client.ask("INFO")).matchAll(/loop_delay_p99_ms=([\d.]+)/g)].map((match) =>
    Number(match[1]),
  );
  report.row({ name: "longest PING, nothing else", value: idle, unit: "ms" });
  report.row({
    name: `longest PING during ALL of ${CROWD}`,
    value: busy,
    unit: "ms",
    target: "< 50 ms",
    met: busy < 50,
  });
  report.row({ name: "event-loop delay under it, p99", value: Math.max(...delays), unit: "ms" });
  for (const pinger of pingers) pinger.socket.destroy();
}
