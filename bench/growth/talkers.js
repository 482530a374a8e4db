// Clients as programs use them, many in one process. Argument: HOST:PORT of the server. Takes {grow: {first, count}}, {visit: count} and
// "idle" from its parent, answers each with what it found, and says "back" for each client that its server has again.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TalkClient } from "../../dist/index.js";
import { inParallel } from "./server-load.js";

const AT_ONCE = 10;
const IDLE_MS = 3_000;
const server = process.argv[2];
const stateDir = mkdtempSync(join(tmpdir(), "ptalk-bench-"));
process.on("exit", () => rmSync(stateDir, { recursive: true, force: true }));
process.on("disconnect", () => process.exit());

/** The parent may have ended already. */
const say = (message) => process.connected && process.send(message, () => {});
const connect = (name) => TalkClient.connect({ name, server, stateDir });

const ORDERS = {
  async grow({ first, count }) {
    globalThis.gc();
    const before = process.memoryUsage().rss;
    const clients = await inParallel(count, AT_ONCE, (i) => connect(`talker${first + i}`));
    for (const client of clients) {
      client.on("server", ({ state }) => state === "back" && say("back"));
      client.on("error", (error) => say({ lost: error.message }));
    }
    globalThis.gc();
    const descriptors = readdirSync("/proc/self/fd").length / count;
    return { bytes: (process.memoryUsage().rss - before) / count, descriptors };
  },
  /** So many people come and go. */
  async visit({ count }) {
    const at = performance.now();
    await inParallel(count, AT_ONCE, async (i) => {
      const visitor = await connect(`visitor${i}`);
      await visitor.close();
    });
    return { ms: performance.now() - at };
  },
  /** What the clients cost while nothing happens. */
  async idle() {
    const before = process.cpuUsage();
    await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
    const { user, system } = process.cpuUsage(before);
    return { share: (user + system) / 1000 / IDLE_MS };
  },
};

process.on("message", async ({ order, ...values }) => {
  say({ answer: await ORDERS[order](values) });
});
