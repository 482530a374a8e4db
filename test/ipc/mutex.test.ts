// Mutex and FileLock: one section at a time, among the sections of an instance, of a thread, of all processes; and nothing left of the dead.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { FileLock, Mutex, SharedMemory } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { exists, ObjectNames, segmentFile } from "../helpers/object-names.ts";
import { descriptorsOf } from "../helpers/own-process.ts";
import { Program } from "../helpers/program.ts";
import { times } from "../helpers/volume.ts";

const names = new ObjectNames("mutex");
const KILLS = times(15);
const folder = mkdtempSync(join(tmpdir(), "ptalk-lock-"));
afterAll(() => {
  names.sweep();
  rmSync(folder, { recursive: true });
});
let files = 0;
const newFile = () => join(folder, `lock-${files++}`);
const refusal = (code: string) => expect.objectContaining({ name: "IpcError", code });

/** Both kinds, opened in this process and, by an expression, in another. */
const kinds = [
  [
    "Mutex",
    () => names.fresh(),
    (at: string) => Mutex.openOrCreate(at),
    (at: string) => `ipc.Mutex.open(${JSON.stringify(at)})`,
  ],
  ["FileLock", newFile, (at: string) => FileLock.open(at), (at: string) => `ipc.FileLock.open(${JSON.stringify(at)})`],
] as const;

describe.each(kinds)("%s", (kind, place, open, opening) => {
  const holder = async (at: string, method = "withLock") => {
    const program = new NodeProgram(`
      const lock = ${opening(at)};
      let end;
      process.stdin.on("data", () => end());
      lock.${method}(() => { say("inside"); return new Promise((resolve) => (end = resolve)); }).then(() => say("over"));`);
    expect(await program.heard()).toBe("inside");
    return program;
  };

  test("runs sections one at a time, in the order they came, and returns what they return", async () => {
    using lock = open(place());
    const log: number[] = [];
    let inside = 0;
    const all = [1, 2, 3, 4].map((i) =>
      lock.withLock(async () => {
        expect(++inside).toBe(1);
        log.push(i);
        await sleep(2);
        inside--;
        return i * i;
      }),
    );
    expect(await Promise.all(all)).toEqual([1, 4, 9, 16]);
    expect(log).toEqual([1, 2, 3, 4]);
    await expect(lock.withLock(() => Promise.reject(new Error("mine")))).rejects.toThrow("mine");
    expect(await lock.withLock(() => "free")).toBe("free");
  });

  test("excludes another instance of the same thread, and finds the section that waits for itself", async () => {
    const at = place();
    using one = open(at);
    using two = open(at);
    let inside = 0;
    const section = async () => {
      expect(++inside).toBe(1);
      await sleep(5);
      inside--;
    };
    await Promise.all([one.withLock(section), two.withLock(section), one.withLock(section)]);
    await one.withLock(async () => {
      await sleep(1);
      await expect(two.withLock(() => {})).rejects.toEqual(refusal("EDEADLK"));
      await expect(one.withLock(() => {})).rejects.toEqual(refusal("EDEADLK"));
    });
  });

  test("waits for another process, gives up by its deadline and its signal, and can be closed then", async () => {
    const at = place();
    using lock = open(at);
    const other = await holder(at);
    await expect(lock.withLock(() => {}, { timeoutMs: 0 })).rejects.toEqual(refusal("ETIMEDOUT"));
    await expect(lock.withLock(() => {}, { timeoutMs: 30 })).rejects.toThrow(
      kind === "Mutex"
        ? `no mutex within 30 ms; held by pid ${other.pid}`
        : "no lock within 30 ms; held by somebody else",
    );
    const aborted = lock.withLock(() => {}, { signal: AbortSignal.timeout(20) });
    expect(() => lock.close()).toThrow(refusal("EBUSY"));
    await expect(aborted).rejects.toMatchObject({ name: "AbortError", code: "ABORT_ERR" });
    const entered = lock.withLock(() => "entered");
    other.say("end");
    expect(await entered).toBe("entered");
    expect(await other.heard()).toBe("over");
    await other.end();
    lock.close();
    await expect(lock.withLock(() => {})).rejects.toEqual(refusal("EBADF"));
  });

  test("of a killed holder is free", async () => {
    const at = place();
    using lock = open(at);
    const other = await holder(at);
    const entered = lock.withLock(() => "entered");
    await other.kill();
    expect(await entered).toBe("entered");
  });

  test("of a worker thread that is terminated inside is free", async () => {
    const at = place();
    using lock = open(at);
    const program = new NodeProgram(`
      import { Worker } from "node:worker_threads";
      const worker = new Worker(\`
        const ipc = await import(${JSON.stringify(new URL("../../dist/ipc/index.js", import.meta.url).href)});
        const { parentPort } = await import("node:worker_threads");
        globalThis.lock = ${opening(at)};
        setInterval(() => {}, 1000);
        lock.withLock(() => { parentPort.postMessage("inside"); return new Promise(() => {}); });\`, { eval: true });
      worker.once("message", async () => { say("inside"); process.stdin.once("data", async () => { await worker.terminate(); say("over"); }); });`);
    expect(await program.heard()).toBe("inside");
    await expect(lock.withLock(() => {}, { timeoutMs: 10 })).rejects.toEqual(refusal("ETIMEDOUT"));
    program.say("end");
    expect(await program.heard()).toBe("over");
    expect(await lock.withLock(() => "entered")).toBe("entered");
    await program.end();
  });

  test("loses no increment of four hammering processes", async () => {
    const at = place();
    using _lock = open(at);
    using data = SharedMemory.create(names.fresh(), { size: 8 });
    const script = `
      const lock = ${opening(at)};
      const words = new Float64Array(ipc.SharedMemory.open(${JSON.stringify(data.name)}).buffer);
      for (let i = 0; i < 300; i++) await lock.withLock(async () => { const seen = words[0]; if (i % 10 === 0) await null; words[0] = seen + 1; });
      say("done");`;
    const programs = [1, 2, 3, 4].map(() => new NodeProgram(script));
    for (const program of programs) expect(await program.heard()).toBe("done");
    expect(new Float64Array(data.buffer)[0]).toBe(1200);
    for (const program of programs) await program.end();
  });

  test("gives its descriptor back, closed or forgotten", () => {
    const at = place();
    const before = descriptorsOf(at);
    for (let i = 0; i < 20; i++) open(at).close();
    expect(descriptorsOf(at)).toBe(before);
  });

  test("refuses wrong arguments", async () => {
    using lock = open(place());
    await expect(lock.withLock(3 as never)).rejects.toThrow(TypeError);
    await expect(lock.withLock(() => {}, { timeoutMs: -1 })).rejects.toThrow(RangeError);
    await expect(lock.withLock(() => {}, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      name: "AbortError",
    });
  });
});

describe("Mutex", () => {
  test("tells the next section, once, that the holder died inside", async () => {
    using mutex = Mutex.create(names.fresh());
    const program = new NodeProgram(`
      const mutex = ipc.Mutex.open(${JSON.stringify(mutex.name)});
      mutex.withLock(() => { say("inside"); return new Promise(() => {}); });`);
    expect(await program.heard()).toBe("inside");
    expect(mutex.holder).toBe(program.pid);
    await program.kill();
    expect(mutex.holder).toBeNull();
    const abandoned = () => mutex.withLock((entry) => entry.abandoned);
    expect([await abandoned(), await abandoned()]).toEqual([true, false]);
    await mutex.withLock(() => expect(mutex.holder).toBe(process.pid));
  });

  test("names a stopped holder", async () => {
    using mutex = Mutex.create(names.fresh());
    const program = new NodeProgram(`
      ipc.Mutex.open(${JSON.stringify(mutex.name)}).withLock(() => { say("inside"); return new Promise(() => {}); });`);
    await program.heard();
    program.child.kill("SIGSTOP");
    await expect(mutex.withLock(() => {}, { timeoutMs: 100 })).rejects.toThrow(`held by pid ${program.pid} (stopped)`);
    await program.kill();
  });

  test("is one object of its mode, and unlink removes it; create is exclusive, open needs one", () => {
    const name = names.fresh();
    expect(() => Mutex.open(name)).toThrow(refusal("ENOENT"));
    const umask = process.umask(0o077);
    const mutex = Mutex.create(name, { mode: 0o664 });
    process.umask(umask);
    expect(statSync(segmentFile(name)).mode & 0o777).toBe(0o660);
    expect(() => Mutex.create(name)).toThrow(refusal("EEXIST"));
    mutex.unlink();
    expect(exists(segmentFile(name))).toBe(false);
    mutex.close();
    mutex.close();
    expect(() => mutex.holder).toThrow(refusal("EBADF"));
  });

  test("refuses another object, and names its kind", () => {
    const name = names.fresh();
    using other = SharedMemory.create(name, { size: 64 });
    new Int32Array(other.buffer)[0] = 7;
    expect(() => Mutex.open(name)).toThrow(/not a mutex: it begins with other bytes/);
    other.unlink();
    using large = SharedMemory.create(name, { size: 4096 });
    expect(() => Mutex.openOrCreate(name)).toThrow(/not a mutex: it has 4096 bytes/);
    large.unlink();
  });

  test("is whole after its creator was killed at any point of creating it", () => {
    const name = names.fresh();
    writeFileSync(segmentFile(name), "");
    using mutex = Mutex.openOrCreate(name);
    expect(mutex.name).toBe(name);
  });
});

describe("FileLock", () => {
  test("lets shared sections run together, of one instance and of other processes, and no exclusive one beside them", async () => {
    const at = newFile();
    using lock = FileLock.open(at);
    using reader = FileLock.open(at, { readOnly: true });
    let inside = 0;
    const most: number[] = [];
    const section = async () => {
      most.push(++inside);
      await sleep(10);
      inside--;
    };
    await Promise.all([lock.withShared(section), lock.withShared(section), reader.withShared(section)]);
    expect(Math.max(...most)).toBe(3);
    await reader.withShared(async () => {
      expect(lock.heldByOthers).toBe(true);
    });
    await expect(reader.withLock(() => {})).rejects.toEqual(refusal("EBADF"));
    expect(lock.heldByOthers).toBe(false);
  });

  test("creates the file with its mode, or needs one that is there, and leaves its contents alone", async () => {
    const at = newFile();
    expect(() => FileLock.open(at, { readOnly: true })).toThrow(refusal("ENOENT"));
    FileLock.open(at, { mode: 0o640 }).close();
    expect(statSync(at).mode & 0o777).toBe(0o640 & ~process.umask());
    writeFileSync(at, "contents");
    using lock = FileLock.open(Buffer.from(at));
    await lock.withLock(() => {});
    expect(statSync(at).size).toBe(8);
    expect(() => FileLock.open(folder)).toThrow(refusal("EISDIR"));
  });

  test("of different bytes are different locks", async () => {
    const at = newFile();
    using low = FileLock.open(at, { start: 0, length: 10 });
    using high = FileLock.open(at, { start: 10 });
    using all = FileLock.open(at);
    await low.withLock(() => high.withLock(() => expect(all.withLock(() => {}, { timeoutMs: 5 })).rejects.toThrow()));
    expect(() => FileLock.open(at, { start: -1 })).toThrow(RangeError);
  });

  test("excludes programs that lock with fcntl", async ({ skip }) => {
    if (spawnSync("python3", ["-c", "import fcntl"]).status !== 0) skip("python3 is missing");
    const at = newFile();
    using lock = FileLock.open(at);
    const python = new Program("python3", [
      "-c",
      `import fcntl,sys
f=open(${JSON.stringify(at)},"r+")
fcntl.lockf(f,fcntl.LOCK_EX)
print("locked",flush=True)
sys.stdin.readline()`,
    ]);
    expect(await python.line()).toBe("locked");
    await expect(lock.withLock(() => {}, { timeoutMs: 20 })).rejects.toEqual(refusal("ETIMEDOUT"));
    const entered = lock.withLock(() => "entered");
    python.say("");
    expect(await entered).toBe("entered");
    await python.end();
  });
});

test(`${KILLS} random kills of processes that hold or want a mutex violate, lose and leave nothing`, {
  timeout: 300_000,
}, async () => {
  const script = join(import.meta.dirname, "../crash/mutex-kill.js");
  const run = new Program(process.execPath, [script, "--kills", String(KILLS)]);
  expect(await run.ended).toMatchObject({ code: 0, stderr: "" });
  const [, json = "{}", verdict] = /^(.*) (ok|FAILED)$/.exec(await run.line()) ?? [];
  expect([JSON.parse(json), verdict]).toMatchObject([{ violations: 0, errors: 0, stuck: 0, leftovers: 0 }, "ok"]);
});
