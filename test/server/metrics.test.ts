// `ptalk serve --metrics`: what Prometheus reads, from all workers, and whom the port is for.
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LookupServer } from "../../lib/index.ts";
import { freshStateDir, newKeys, ServerProcess, until, within } from "../helpers/lookup-server.ts";

let state: ReturnType<typeof freshStateDir>;
beforeAll(() => {
  state = freshStateDir();
});
afterAll(() => state.remove());

/** One line of the text format: name, labels as they stand, value. */
const SERIES = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (-?[\d.e+-]+)$/;

interface Scrape {
  readonly type: string | null;
  readonly text: string;
  /** Value of a series, or the sum of all with this name. */
  readonly value: (name: string, labels?: string) => number;
  readonly names: ReadonlySet<string>;
}

async function scrape(url: string): Promise<Scrape> {
  const response = await fetch(url);
  expect(response.status).toBe(200);
  const text = await response.text();
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  const series = lines.map((line) => SERIES.exec(line) ?? expect.fail(`no series: ${line}`));
  return {
    type: response.headers.get("content-type"),
    text,
    names: new Set(series.map(([, name]) => name as string)),
    value: (name, labels) =>
      series
        .filter((one) => one[1] === name && (labels === undefined || one[2] === labels))
        .reduce((sum, one) => sum + Number(one[3]), 0),
  };
}

describe("the metrics of a server with two workers", { shuffle: false }, () => {
  let server: ServerProcess;
  let url: string;
  beforeAll(async () => {
    server = await ServerProcess.start(["--workers", "2", "--metrics", "127.0.0.1:0", "--state-dir", state.path]);
    await until("the line with the address", () => /metrics at \S+\n/.test(server.output));
    url = /metrics at (\S+)\n/.exec(server.output)?.[1] ?? "";
  });
  afterAll(() => server.stop());

  it("are those of all workers, in the text format", async () => {
    const clients = [await server.client(), await server.client(), await server.client()] as const;
    for (const [i, client] of clients.entries()) await client.register(`client${i}`, newKeys());
    await clients[0].ask("WATCH");
    await clients[1].ask("WATCH", "somebody", "#room");
    await clients[2].ask("NONSENSE");
    const { type, text, value, names } = await scrape(url);
    expect(type).toMatch(/^text\/plain; version=0\.0\.4/);
    for (const name of names) {
      const kind = name.endsWith("_total") ? "counter" : "gauge";
      expect(text).toMatch(new RegExp(`^# HELP ${name} \\S.*\\n# TYPE ${name} ${kind}$`, "m"));
    }
    expect(value("ptalk_clients")).toBe(3);
    expect(value("ptalk_connections")).toBe(3);
    expect(value("ptalk_workers")).toBe(2);
    expect(value("ptalk_worker_clients")).toBe(3);
    expect([value("ptalk_worker_clients", 'worker="1"'), value("ptalk_worker_clients", 'worker="2"')].sort()).toEqual([
      1, 2,
    ]);
    expect(value("ptalk_registrations_total")).toBe(3);
    expect(value("ptalk_watchers")).toBe(1);
    expect(value("ptalk_watched_names")).toBe(2);
    expect(value("ptalk_refused_total", 'reason="err"')).toBe(1);
    expect(value("ptalk_lock_recoveries_total")).toBe(0);
    expect(value("ptalk_mailbox_messages")).toBe(0);
    for (const name of ["ptalk_pushes_total", "ptalk_events_coalesced_total", "ptalk_unwatched_total"]) {
      expect([...names]).toContain(name);
    }
    for (const process of ["primary", "worker-1", "worker-2"]) {
      expect(text).toContain(`ptalk_loop_delay_p99_seconds{process="${process}"}`);
    }
  });

  it("begin anew with a worker that takes the place of a dead one, under another label", async () => {
    const asker = await server.client();
    const pid = Number(/worker_0:id=1,pid=(\d+)/.exec((await asker.ask("INFO")) as string)?.[1]);
    process.kill(pid, "SIGKILL");
    await until("another worker", async () => (await scrape(url)).text.includes('ptalk_requests_total{worker="3"}'));
    const { value, text } = await scrape(url);
    expect(value("ptalk_workers_replaced_total")).toBe(1);
    expect(text).not.toContain('{worker="1"}');
  });

  it("are at one place, and only read", async () => {
    const other = await fetch(new URL("/", url));
    expect([other.status, await other.text()]).toEqual([404, "The counters are at /metrics\n"]);
    expect((await fetch(url, { method: "POST", body: "x" })).status).toBe(405);
    const head = await fetch(url, { method: "HEAD" });
    expect([head.status, await head.text()]).toEqual([200, ""]);
  });

  it("the dashboard asks for metrics that there are", async () => {
    await (await server.client()).ask("NONSENSE"); // the worker that counted an earlier one may be gone
    const { names } = await scrape(url);
    const dashboard = readFileSync(join(import.meta.dirname, "../../contrib/grafana-dashboard.json"), "utf8");
    const asked = new Set([...dashboard.matchAll(/\bptalk_[a-z0-9_]+/g)].map(([name]) => name));
    expect(asked.size).toBeGreaterThan(15);
    expect([...asked].filter((name) => !names.has(name))).toEqual([]);
  });
});

describe("the port of the metrics", () => {
  it("is one of this machine alone, unless the network is trusted", async () => {
    const options = {
      listen: "127.0.0.1:0",
      workers: 0,
      directory: "memory",
      mailbox: false,
      metrics: "0.0.0.0:0",
    } as const;
    await expect(LookupServer.start(options)).rejects.toMatchObject({ code: "usage", remedy: "local-metrics" });
    await using server = await LookupServer.start({ ...options, insecure: true });
    const { text } = await scrape(`http://127.0.0.1:${server.metricsAddress?.split(":")[1]}/metrics`);
    expect(text).toContain("ptalk_clients 0\n");
    expect(text).not.toContain("ptalk_lock"); // a directory in memory has none
    expect(text).not.toContain("ptalk_mailbox");
  });

  it("that another program has ends the start with 69, and nothing is left", async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const { port } = other.address() as { port: number };
    const start = LookupServer.start({ listen: "127.0.0.1:0", workers: 1, metrics: `127.0.0.1:${port}` });
    await expect(within("the refusal", start)).rejects.toMatchObject({
      code: "unreachable",
      remedy: "other-metrics-port",
      message: expect.stringContaining(`cannot serve the metrics on 127.0.0.1:${port}: another program`),
    });
    other.close();
  });
});
