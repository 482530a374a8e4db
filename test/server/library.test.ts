// LookupServer as a program uses it, from the package's own entry.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Directory, LookupServer } from "../../lib/index.ts";
import { Client, freshStateDir, newKeys, remains, until, within } from "../helpers/lookup-server.ts";
import { Program } from "../helpers/program.ts";

let state: ReturnType<typeof freshStateDir>;
beforeEach(() => {
  state = freshStateDir();
});
afterEach(() => state.remove());

describe("LookupServer", () => {
  it.each([0, 1, 2])("starts and stops, with %i workers, as often as one likes", async (workers) => {
    for (let round = 0; round < 2; round++) {
      const server = await LookupServer.start({
        listen: { host: "127.0.0.1", port: 0 },
        workers,
        stateDir: state.path,
      });
      expect(server.address).toBe(`127.0.0.1:${server.port}`);
      expect(server.workers).toHaveLength(workers);
      const client = await Client.connect(server.port);
      expect(await client.register("bob", newKeys())).toMatchObject(round === 0 ? {} : { code: "TAKEN" });
      expect(server.clients).toBe(round === 0 ? 1 : 0);
      using directory = Directory.open({ port: server.port });
      expect(directory.lookup("BOB")?.port ?? null).toBe(round === 0 ? 4000 : null);
      await Promise.all([server.stop(), server.stop(), server.stopped]);
      expect(directory.stale).toBe(true);
      await client.closed;
      expect(remains(server.port)).toEqual([]);
    }
  });

  it("is async-disposable", async () => {
    let port = 0;
    {
      await using server = await LookupServer.start({ listen: "127.0.0.1:0", workers: 0, stateDir: state.path });
      port = server.port;
    }
    expect(remains(port)).toEqual([]);
  });

  it("two of them live in one process", async () => {
    const other = freshStateDir();
    const servers = [
      await LookupServer.start({ listen: "127.0.0.1:0", workers: 1, stateDir: state.path }),
      await LookupServer.start({ listen: "127.0.0.1:0", workers: 1, stateDir: other.path }),
    ];
    for (const server of servers) {
      const client = await Client.connect(server.port);
      expect(await client.register("bob", newKeys())).toBe("OK");
      expect(await client.ask("COUNT")).toBe(1);
      client.close();
    }
    for (const server of servers) await server.stop();
    other.remove();
  });

  it.each([
    [{ workers: -1 }, "workers"],
    [{ workers: 1.5 }, "workers"],
    [{ capacity: 0 }, "capacity"],
    [{ capacity: 2_000_000 }, "capacity"],
    [{ listen: "nowhere:x" }, "port"],
    [{ listen: "127.0.0.1:70000" }, "port"],
    [{ tableMode: 0o7777 }, "table-mode"],
    [{ tableMode: 0o444 }, "table-mode"],
    [{ tlsCert: "x" }, "certificate"],
  ])("refuses %j, and says which", async (options, word) => {
    await expect(LookupServer.start({ stateDir: state.path, ...options })).rejects.toMatchObject({
      code: "usage",
      message: expect.stringContaining(word),
    });
  });

  it.each<[string, unknown]>([
    ["options", null],
    ["options", 5],
    ["listen", { listen: 5 }],
    ["bogus", { bogus: 1 }],
    ["signal", { signal: {} }],
    ["stateDir", { stateDir: 5 }],
    ["log", { log: {} }],
    ["workers", { workers: "2" }],
  ])("a mistake in %s is the caller's, told before anything is made", async (subject, options) => {
    const start = LookupServer.start as (options: unknown) => Promise<LookupServer>;
    await expect(start(options)).rejects.toMatchObject({ name: "TalkError", code: "usage", subject });
  });

  it("leaves nothing behind when it cannot start", async () => {
    const first = await LookupServer.start({ listen: "127.0.0.1:0", workers: 0, stateDir: state.path });
    const again = LookupServer.start({ listen: first.address, workers: 0, stateDir: join(state.path, "2") });
    await expect(again).rejects.toMatchObject({
      code: "unreachable",
      message: expect.stringContaining(String(process.pid)),
    });
    const client = await Client.connect(first.port);
    expect(await client.ask("PING")).toBe("PONG");
    await first.stop();
    expect(remains(first.port)).toEqual([]);
  });

  it("works in `node -e`, with workers", async () => {
    const script = `
      import { LookupServer } from ${JSON.stringify(join(import.meta.dirname, "../../dist/index.js"))};
      const server = await LookupServer.start({ listen: "127.0.0.1:0", workers: 2, stateDir: ${JSON.stringify(state.path)} });
      console.log(server.workers.length);
      await server.stop();
      console.log("stopped");`;
    const program = new Program(process.execPath, ["--input-type=module", "-e", script]);
    expect(await program.line()).toBe("2");
    expect(await program.line()).toBe("stopped");
    // Nothing of the server keeps the process alive.
    expect(await program.ended).toMatchObject({ code: 0, stderr: "" });
  });

  it.each(["beside", "inside"])("leaves node:cluster to its program: with workers %s the program's", async (where) => {
    const host = join(import.meta.dirname, "../fixtures/server/cluster-host.js");
    const program = new Program(process.execPath, [host, where, state.path]);
    const served = { workers: 2, answers: ["+PONG\r\n"] };
    expect(JSON.parse(await program.line())).toEqual({
      said: where === "beside" ? "the program's own worker" : served,
      seen: where === "beside" ? served : null,
      untouched: true,
      children: 1,
    });
    expect(await program.ended).toMatchObject({ code: 0, stderr: "" });
  });

  it("starts workers under a program that is being debugged: they leave its port alone", async () => {
    const script = `
      import { LookupServer } from ${JSON.stringify(join(import.meta.dirname, "../../dist/index.js"))};
      const server = await LookupServer.start({ listen: "127.0.0.1:0", workers: 2, stateDir: ${JSON.stringify(state.path)} });
      console.log(server.workers.length);
      await server.stop();`;
    const file = join(state.path, "host.mjs");
    writeFileSync(file, script);
    const program = new Program(process.execPath, ["--inspect=127.0.0.1:0", file]);
    expect(await program.line()).toBe("2");
    const { code, stderr } = await program.ended;
    expect(code).toBe(0);
    expect(stderr.match(/Debugger listening/g)).toHaveLength(1);
  });

  it("goes on when the system refuses a new worker, and has one when it does no longer", async () => {
    const errors: string[] = [];
    const log = { error: (event: string) => errors.push(event), warn() {}, info() {} };
    const server = await LookupServer.start({ listen: "127.0.0.1:0", workers: 1, stateDir: state.path, log });
    const options = process.execArgv;
    process.execArgv = ["\u0000"]; // no program can be started so
    process.kill(server.workers[0] as number, "SIGKILL");
    await until("a refusal", () => errors.includes("no new worker"));
    process.execArgv = options;
    await until("a new worker", () => server.workers.length === 1);
    const client = await Client.connect(server.port);
    expect(await client.ask("PING")).toBe("PONG");
    client.close();
    await server.stop();
  });

  it("starts with the workers that do, when another hangs", async () => {
    const starting = LookupServer.start({ listen: "127.0.0.1:0", workers: 2, stateDir: state.path });
    const children = () => readFileSync(`/proc/self/task/${process.pid}/children`, "latin1").trim().split(" ");
    await until("both to be forked", () => children().length === 2);
    process.kill(Number(children()[0]), "SIGSTOP");
    const server = await within("the start", starting);
    const client = await Client.connect(server.port);
    expect(await client.ask("PING")).toBe("PONG");
    client.close();
    await server.stop();
    expect(remains(server.port)).toEqual([]);
  });

  it("stopped right after its start, or with a worker that has just died", async () => {
    const server = await LookupServer.start({ listen: "127.0.0.1:0", workers: 2, stateDir: state.path });
    process.kill(server.workers[0] as number, "SIGKILL");
    await until("a new worker to begin", () => server.workers.length === 1);
    await until("a new worker to begin", () => server.workers.length === 2);
    await server.stop();
    expect(remains(server.port)).toEqual([]);
  });
});
