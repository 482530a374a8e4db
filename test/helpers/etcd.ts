// Real etcd nodes for tests: one or three, on loopback or each on a host of its own, each in a temporary folder, with ports of their own. They can be stopped, killed and
// started again; the end kills them by pid. Tests skip with `etcdMissing` where the program is not installed.
import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { EtcdAccess } from "../../lib/directory/etcd/address.ts";

/** Far beyond what a start takes on a busy machine; only there so that a hang fails with a message. */
const WATCHDOG_MS = 60_000;
const LOOK_MS = 50;

const found = spawnSync("etcd", ["--version"], { encoding: "utf8" });
/** Why there is no etcd; null if there is one. */
export const etcdMissing: string | null = found.status === 0 ? null : "etcd is not installed (Debian: etcd-server)";
export interface EtcdOptions {
  /** 1 or 3. */
  readonly nodes?: number;
  /** PEM files: the nodes ask for client certificates of `ca`. */
  readonly tls?: { readonly ca: string; readonly certificate: string; readonly key: string };
  /** More words of the command line. */
  readonly flags?: readonly string[];
  /** One for each node: its address, and the words before a command that is to run there. Default: all on loopback. */
  readonly hosts?: readonly { readonly address: string; readonly inside: readonly string[] }[];
}

interface Node {
  readonly name: string;
  readonly folder: string;
  readonly address: string;
  readonly client: number;
  readonly peer: number;
  child: ChildProcess | null;
  output: string;
}

const run = promisify(execFile);

export class EtcdCluster implements AsyncDisposable {
  readonly #folder: string;
  readonly #nodes: Node[];
  readonly #options: EtcdOptions;
  #isNew = true;

  private constructor(folder: string, nodes: Node[], options: EtcdOptions) {
    this.#folder = folder;
    this.#nodes = nodes;
    this.#options = options;
  }

  /** Resolves when all nodes answer and agree on a leader. */
  static async start(options: EtcdOptions = {}): Promise<EtcdCluster> {
    const folder = mkdtempSync(join(tmpdir(), "ptalk-etcd-"));
    const count = options.nodes ?? 1;
    const ports = await freePorts(2 * count);
    const nodes = Array.from({ length: count }, (_, i) => ({
      name: `n${i}`,
      folder: join(folder, `n${i}`),
      address: options.hosts?.[i]?.address ?? "127.0.0.1",
      client: ports[2 * i] as number,
      peer: ports[2 * i + 1] as number,
      child: null,
      output: "",
    }));
    const cluster = new EtcdCluster(folder, nodes, options);
    try {
      await Promise.all(nodes.map((_, i) => cluster.startNode(i)));
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    cluster.#isNew = false;
    return cluster;
  }

  /** "ADDRESS:PORT" of each. */
  get members(): string[] {
    return this.#nodes.map(({ address, client }) => `${address}:${client}`);
  }

  /** What a client without TLS and user has to know. */
  access(prefix = "/ptalk"): EtcdAccess {
    return { members: this.members, prefix, tls: null, credentials: null };
  }

  pid(index: number): number {
    const pid = this.#nodes[index]?.child?.pid;
    if (pid === undefined) throw new Error(`etcd node ${index} does not run`);
    return pid;
  }

  /** The nodes that were not killed. */
  get running(): number[] {
    return this.#nodes.flatMap(({ child }, index) => (child === null ? [] : [index]));
  }

  /** Starts a node, or starts it again with what it has. Resolves when it answers. @param force a cluster of its own, from a backup */
  async startNode(index: number, { force = false } = {}): Promise<void> {
    const node = this.#node(index);
    const scheme = this.#options.tls === undefined ? "http" : "https";
    const client = `${scheme}://${node.address}:${node.client}`;
    const peers = this.#nodes.map(({ name, address, peer }) => `${name}=http://${address}:${peer}`).join(",");
    const tls = this.#options.tls;
    const args = [
      ...["--name", node.name, "--data-dir", node.folder],
      ...["--listen-client-urls", client, "--advertise-client-urls", client],
      ...["--listen-peer-urls", `http://${node.address}:${node.peer}`],
      ...["--initial-advertise-peer-urls", `http://${node.address}:${node.peer}`],
      ...["--initial-cluster", peers, "--initial-cluster-state", this.#isNew ? "new" : "existing"],
      ...["--heartbeat-interval", "100", "--election-timeout", "1000", "--logger", "zap", "--log-level", "warn"],
      ...(tls === undefined
        ? []
        : ["--cert-file", tls.certificate, "--key-file", tls.key, "--trusted-ca-file", tls.ca, "--client-cert-auth"]),
      ...(force ? ["--force-new-cluster"] : []),
      ...(this.#options.flags ?? []),
    ];
    const [file = "etcd", ...words] = [...(this.#options.hosts?.[index]?.inside ?? []), "etcd", ...args];
    const child = spawn(file, words, {
      stdio: ["ignore", "ignore", "pipe"],
      env: { PATH: process.env["PATH"] ?? "" },
    });
    node.child = child;
    node.output = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      node.output = (node.output + text).slice(-OUTPUT_LIMIT);
    });
    await this.#until(`node ${index} answers`, async () => {
      if (child.exitCode !== null) throw new Error(`etcd ended with ${child.exitCode}: ${node.output}`);
      return (await this.#health(index)) === "healthy";
    });
  }

  /** Stopped (SIGSTOP): its sockets stay open, nothing answers. */
  pause(index: number): void {
    process.kill(this.pid(index), "SIGSTOP");
  }

  resume(index: number): void {
    process.kill(this.pid(index), "SIGCONT");
  }

  /** SIGKILL; resolves when it is gone. */
  async kill(index: number): Promise<void> {
    const { child } = this.#node(index);
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("close", resolve));
    child.kill("SIGKILL");
    await gone;
    this.#node(index).child = null;
  }

  /** The index of the leader, as the nodes say that run. */
  async leader(): Promise<number> {
    let leader = -1;
    await this.#until("there is a leader", async () => {
      for (const [i, { child }] of this.#nodes.entries()) {
        if (child === null) continue;
        const status = JSON.parse(await this.ctl(["endpoint", "status", "-w", "json"], i))[0].Status;
        if (status.header.member_id === status.leader) leader = i;
      }
      return leader >= 0;
    });
    return leader;
  }

  /** `etcdctl` at one node. */
  async ctl(args: readonly string[], index = 0, flags: readonly string[] = []): Promise<string> {
    const { tls } = this.#options;
    const scheme = tls === undefined ? "http" : "https";
    const files = tls === undefined ? [] : ["--cacert", tls.ca, "--cert", tls.certificate, "--key", tls.key];
    const { address, client } = this.#node(index);
    const endpoint = `${scheme}://${address}:${client}`;
    const env = { PATH: process.env["PATH"] ?? "", ETCDCTL_API: "3" };
    const words = ["--endpoints", endpoint, ...files, ...flags, ...args];
    return (await run("etcdctl", words, { env, timeout: WATCHDOG_MS, maxBuffer: 2 ** 26 })).stdout;
  }

  /** Forgets what was before that revision, physically. */
  async compact(revision: number): Promise<void> {
    await this.ctl(["compaction", "--physical", String(revision)]);
  }

  /** Of the only node: kept beside it, for restore(). It goes on. */
  async backup(): Promise<string> {
    const path = join(this.#folder, `backup-${Date.now()}.db`);
    await this.ctl(["snapshot", "save", path]);
    return path;
  }

  /** As an operator restores it: a new data folder, at the backup's revision. @param token with another one it is another cluster */
  async restore(path: string, { token = "etcd-cluster" } = {}): Promise<void> {
    const node = this.#node(0);
    await this.kill(0);
    rmSync(node.folder, { recursive: true });
    const peer = `http://${node.address}:${node.peer}`;
    const words = ["snapshot", "restore", path, "--name", node.name, "--data-dir", node.folder];
    words.push("--initial-cluster", `${node.name}=${peer}`, "--initial-advertise-peer-urls", peer);
    words.push("--initial-cluster-token", token);
    await run("etcdctl", words, { env: { PATH: process.env["PATH"] ?? "", ETCDCTL_API: "3" }, timeout: WATCHDOG_MS });
    await this.startNode(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const [index, { child }] of this.#nodes.entries()) if (child !== null) await this.kill(index);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #health(index: number): Promise<string> {
    try {
      await this.ctl(["--dial-timeout", "2s", "--command-timeout", "4s", "endpoint", "health"], index);
      return "healthy";
    } catch (error) {
      // With users it answers, and refuses.
      const output = String((error as { stderr?: string }).stderr ?? error);
      return /user name is empty|permission denied|database space|NOSPACE/i.test(output) ? "healthy" : output;
    }
  }

  #node(index: number): Node {
    const node = this.#nodes[index];
    if (node === undefined) throw new Error(`there is no etcd node ${index}`);
    return node;
  }

  async #until(what: string, holds: () => Promise<boolean>): Promise<void> {
    const until = performance.now() + WATCHDOG_MS;
    while (!(await holds())) {
      if (performance.now() > until)
        throw new Error(`not within ${WATCHDOG_MS} ms: ${what}\n${this.#nodes.map(({ output }) => output).join("\n")}`);
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }
}

/** Kept of what a node writes, for a test that fails. */
const OUTPUT_LIMIT = 8192;

/** Ports that were free at once. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, listening));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

function listening(): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => resolve(server));
  });
}
