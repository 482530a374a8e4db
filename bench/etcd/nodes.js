// Real etcd nodes for the benchmark, on loopback: one, or three that are one cluster, each in a temporary folder.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EtcdEngine } from "../../dist/directory/etcd/etcd-engine.js";
import { pause } from "../server/programs.js";

/** Far beyond what a start takes. */
const PATIENCE_MS = 30_000;
const LOOK_MS = 50;
const ASK_MS = 1_000;

/** "3.4.23", or null where there is no etcd. */
export function etcdVersion() {
  const { status, stdout } = spawnSync("etcd", ["--version"], { encoding: "utf8" });
  return status === 0 ? (/Version: (\S+)/.exec(stdout)?.[1] ?? "?") : null;
}

export class Nodes {
  /** @param count 1 or 3 */
  static async start(count) {
    const nodes = new Nodes();
    nodes.folder = mkdtempSync(join(tmpdir(), "ptalk-bench-etcd-"));
    const ports = await freePorts(2 * count);
    const peers = Array.from({ length: count }, (_, i) => `n${i}=http://127.0.0.1:${ports[2 * i + 1]}`).join(",");
    nodes.members = Array.from({ length: count }, (_, i) => `127.0.0.1:${ports[2 * i]}`);
    nodes.children = nodes.members.map((member, i) => {
      const peer = `http://127.0.0.1:${ports[2 * i + 1]}`;
      const args = [
        ...["--name", `n${i}`, "--data-dir", join(nodes.folder, `n${i}`)],
        ...["--listen-client-urls", `http://${member}`, "--advertise-client-urls", `http://${member}`],
        ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer],
        ...["--initial-cluster", peers, "--logger", "zap", "--log-level", "error"],
      ];
      return spawn("etcd", args, { stdio: "ignore" });
    });
    await nodes.#answer();
    return nodes;
  }

  get pids() {
    return this.children.map(({ pid }) => pid);
  }

  /** For `serve --directory`. */
  address(prefix) {
    return `etcd://${this.members.join(",")}/${prefix}`;
  }

  engine(prefix) {
    return new EtcdEngine({ members: this.members, prefix, tls: null, credentials: null });
  }

  async stop() {
    for (const child of this.children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #answer() {
    const engine = this.engine("/start");
    const until = performance.now() + PATIENCE_MS;
    for (;;) {
      try {
        await engine.list("/start", { limit: 1, revision: 0, deadline: ASK_MS });
        return engine.close();
      } catch (error) {
        if (performance.now() < until) {
          await pause(LOOK_MS);
          continue;
        }
        engine.close();
        await this.stop();
        throw new Error("etcd does not answer", { cause: error });
      }
    }
  }
}

/** Ports that were free at once. */
async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => once(server.close(), "close")));
  return ports;
}
