// The server is killed under 10,000 clients, and started again at once: how long until all are back, and what a client that is back
// waits for a LOOKUP meanwhile. Each comes back as ptalk's own client does: after the same pause, with a greeting that is signed and
// checked, and with its watches.
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { returnDelayMs } from "../../dist/client/return-delay.js";
import { Client } from "../server/client.js";
import { median, pause, startPtalk } from "../server/programs.js";
import { CAPACITY, Crowd, WORKERS } from "./raw.js";
import { serverPids, untilOn } from "./server-load.js";

const CLIENTS = 10_000;
const BACK_WITHIN_S = 15;
/** As in lib/client/server-session.ts, for a server of this host. */
const PAUSES = { limits: { firstMs: 100, maxMs: 1_000 }, longestMs: 5_000 };

export async function storm(report) {
  const stateDir = mkdtempSync(join(tmpdir(), "ptalk-bench-"));
  const crowd = await Crowd.start({ stateDir });
  const { port } = crowd.server;
  await crowd.growTo(CLIENTS);
  const attempts = { count: 0 };
  const back = crowd.clients.map((client, i) => comeBack(crowd, client, i, attempts));
  const died = once(crowd.server.child, "exit");
  const at = performance.now();
  for (const pid of serverPids(crowd.pid)) process.kill(pid, "SIGKILL");
  await died;
  crowd.server = await startPtalk(WORKERS, CAPACITY, false, { stateDir, port });
  const servesAt = performance.now();
  const asker = fork(join(import.meta.dirname, "asker.js"), [String(port)], { execArgv: [] });
  await Promise.all(back);
  crowd.asker = new Client(port);
  await untilOn(crowd.asker, CLIENTS + 1);
  const took = (performance.now() - at) / 1000;
  asker.send("enough");
  const [waits] = await once(asker, "message");
  const name = `${CLIENTS.toLocaleString("en-US")} clients back after SIGKILL`;
  const held = { target: `< ${BACK_WITHIN_S} s`, met: took < BACK_WITHIN_S };
  report.row({ name, value: took, unit: "s", ...held });
  report.row({ name: "  the new server serves after", value: (servesAt - at) / 1000, unit: "s" });
  report.row({ name: "  attempts of each", value: attempts.count / CLIENTS, unit: "" });
  report.row({ name: "  LOOKUP meanwhile, median", value: median(waits), unit: "ms" });
  report.row({ name: "  LOOKUP meanwhile, longest", value: Math.max(...waits), unit: "ms" });
  await crowd.stop();
  rmSync(stateDir, { recursive: true, force: true });
}

/** Fulfilled when the client's place in the crowd is taken again. */
async function comeBack(crowd, client, index, attempts) {
  await once(client.socket, "close");
  for (let attempt = 0; ; attempt++) {
    await pause(returnDelayMs(attempt, CLIENTS, PAUSES));
    attempts.count++;
    try {
      crowd.clients[index] = await crowd.enter(index);
      return;
    } catch {
      // No server yet: once more, after a longer pause.
    }
  }
}
