// The server is killed under 10,000 clients, and started again at once: how long until all are back, what the first of them wait for a
// LOOKUP meanwhile, and whether anybody is lost.
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Identity } from "../../dist/crypto/identity.js";
import { Client } from "../server/client.js";
import { median, pause, startPtalk } from "../server/programs.js";
import { CAPACITY, WORKERS } from "./raw.js";
import { serverPids, untilOn } from "./server-load.js";

const CLIENTS = 10_000;
const PROCESSES = 2;
const BACK_WITHIN_S = 15;
const PATIENCE_MS = 60_000;

export async function storm(report) {
  const stateDir = mkdtempSync(join(tmpdir(), "ptalk-bench-"));
  let server = await startPtalk(WORKERS, CAPACITY, false, { stateDir });
  const { port } = server;
  const each = CLIENTS / PROCESSES;
  const crowds = Array.from({ length: PROCESSES }, (_, i) =>
    fork(join(import.meta.dirname, "sessions.js"), [port, i * each, each].map(String), { execArgv: [] }),
  );
  const lost = [];
  let back = 0;
  const on = crowds.map(
    (crowd) =>
      new Promise((resolve, reject) => {
        crowd.on("message", (message) => {
          if (message === "on") resolve();
          else if (message === "back") back++;
          else lost.push(message.gone);
        });
        crowd.once("exit", (status) => reject(new Error(`the clients' process ended with status ${status}`)));
      }),
  );
  try {
    await Promise.all(on);
    const pids = serverPids(server.pid);
    const died = once(server.child, "exit");
    const at = performance.now();
    for (const pid of pids) process.kill(pid, "SIGKILL");
    await died;
    server = await startPtalk(WORKERS, CAPACITY, false, { stateDir, port });
    const started = performance.now();
    const asker = new Client(server.port);
    await asker.register("asker", Identity.generate());
    const waits = [];
    const asking = (async () => {
      while (back < CLIENTS && performance.now() < at + PATIENCE_MS) {
        const asked = performance.now();
        await asker.ask("LOOKUP", "asker");
        waits.push(performance.now() - asked);
        await pause(5);
      }
    })();
    await asking;
    if (lost.length > 0 || back < CLIENTS) throw new Error(`${back} are back, ${lost.length} lost: ${lost[0]}`);
    await untilOn(asker, CLIENTS + 1);
    const took = (performance.now() - at) / 1000;
    const name = `${CLIENTS.toLocaleString("en-US")} clients back after SIGKILL`;
    const held = { target: `< ${BACK_WITHIN_S} s`, met: took < BACK_WITHIN_S };
    report.row({ name, value: took, unit: "s", ...held });
    report.row({ name: "the new server serves after", value: (started - at) / 1000, unit: "s" });
    report.row({ name: "LOOKUP meanwhile, median", value: median(waits), unit: "ms" });
    report.row({ name: "LOOKUP meanwhile, longest", value: Math.max(...waits), unit: "ms" });
    asker.socket.destroy();
  } finally {
    for (const crowd of crowds) crowd.removeAllListeners("exit").kill("SIGKILL");
    await server.stop();
    rmSync(stateDir, { recursive: true, force: true });
  }
}
