// RingBuffer: whole messages, in order, between processes that may be killed at any step of docs/RING.md.
import { spawn } from "node:child_process";
import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { RingBuffer, SharedMemory } from "../../lib/ipc/index.ts";
import { requireFreshBuild } from "../helpers/fresh-build.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { exists, ObjectNames, segmentFile } from "../helpers/object-names.ts";
import { descriptorsOf, mappings } from "../helpers/own-process.ts";
import { Program } from "../helpers/program.ts";
import { times } from "../helpers/volume.ts";

const names = new ObjectNames("ring");
const KILLS = times(15);
afterAll(() => names.sweep());
const refusal = (code: string) => expect.objectContaining({ name: "IpcError", code });

/** Both ends, in this process. */
function pair(size = 4096): [RingBuffer, RingBuffer] {
  const name = names.fresh();
  return [RingBuffer.create(name, { size, role: "writer" }), RingBuffer.open(name, { role: "reader" })];
}

describe("messages", () => {
  test("come whole, in order, of any length up to the longest, over the wrap of the ring", () => {
    const [writer, reader] = pair();
    const lengths = fc.array(fc.integer({ min: 0, max: writer.maxMessage }), { maxLength: 60 });
    fc.assert(
      fc.property(lengths, (wanted) => {
        const waiting: Buffer[] = [];
        for (const [i, length] of wanted.entries()) {
          const message = Buffer.alloc(length, i);
          while (!writer.tryPush(message)) expect(reader.tryPop()).toEqual(waiting.shift());
          waiting.push(message);
        }
        for (const message of waiting) expect(reader.tryPop()).toEqual(message);
        expect(reader.tryPop()).toBeNull();
        expect(reader.stats().bytes).toBe(0);
      }),
    );
    for (const ring of [writer, reader]) ring.close();
  });

  test("longer than the ring are EMSGSIZE; strings are UTF-8; any other value is a TypeError", () => {
    const [writer, reader] = pair();
    expect(() => writer.tryPush(Buffer.alloc(writer.maxMessage + 1))).toThrow(refusal("EMSGSIZE"));
    expect(writer.tryPush("für dich 🙂")).toBe(true);
    expect(String(reader.tryPop())).toBe("für dich 🙂");
    expect(() => writer.tryPush(5 as never)).toThrow(TypeError);
    expect(() => writer.tryPop()).toThrow(refusal("EBADF"));
    expect(() => reader.tryPush("x")).toThrow(refusal("EBADF"));
    for (const ring of [writer, reader]) ring.close();
  });

  test("can be taken into memory of one's own; one that does not fit stays", () => {
    const [writer, reader] = pair();
    const target = Buffer.alloc(4, 9);
    expect(reader.tryPopInto(target)).toBe(-1);
    writer.tryPush("hello");
    expect(() => reader.tryPopInto(target)).toThrow(refusal("ERANGE"));
    const larger = Buffer.alloc(6, ".");
    expect([reader.tryPopInto(larger), String(larger)]).toEqual([5, "hello."]);
    for (const ring of [writer, reader]) ring.close();
  });

  test("of several writers each come to one of several readers", async () => {
    const name = names.fresh();
    using own = RingBuffer.create(name, { size: 8192, role: "writer" });
    const [writers, readers, each] = [3, 3, 2000];
    const takers = Array.from(
      { length: readers },
      () =>
        new NodeProgram(`
          const ring = ipc.RingBuffer.open(${JSON.stringify(name)}, { role: "reader" });
          say("ready");
          const got = [];
          for await (const message of ring) got.push(Number(message));
          say(got);`),
    );
    for (const taker of takers) expect(await taker.heard()).toBe("ready");
    const makers = Array.from(
      { length: writers },
      (_, i) =>
        new NodeProgram(`
          const ring = ipc.RingBuffer.open(${JSON.stringify(name)}, { role: "writer" });
          for (let i = 0; i < ${each}; i++) await ring.push(String(${i} * 1e6 + i));
          ring.close();
          say("done");`),
    );
    for (const maker of makers) expect(await maker.heard()).toBe("done");
    own.close();
    const got = (await Promise.all(takers.map((taker) => taker.heard()))) as number[][];
    for (const list of got)
      for (let i = 0; i < writers; i++) {
        const ofOne = list.filter((n) => Math.floor(n / 1e6) === i);
        expect(ofOne).toEqual([...ofOne].sort((a, b) => a - b));
      }
    expect(got.flat().sort((a, b) => a - b)).toEqual(
      Array.from({ length: writers }, (_, i) => Array.from({ length: each }, (_, n) => i * 1e6 + n)).flat(),
    );
    await Promise.all([...takers, ...makers].map((program) => program.end()));
    RingBuffer.unlink(name);
  });
});

describe("waiting", () => {
  test("pop waits for a push, push for room, each with its deadline and signal", async () => {
    const [writer, reader] = pair();
    await expect(reader.pop({ timeoutMs: 20 })).rejects.toEqual(refusal("ETIMEDOUT"));
    await expect(reader.pop({ signal: AbortSignal.timeout(10) })).rejects.toMatchObject({ name: "AbortError" });
    const popped = reader.pop();
    setTimeout(() => writer.tryPush("late"), 30);
    expect(String(await popped)).toBe("late");
    while (writer.tryPush(Buffer.alloc(1000, 1)));
    await expect(writer.push(Buffer.alloc(1000), { timeoutMs: 20 })).rejects.toEqual(refusal("ETIMEDOUT"));
    await expect(writer.push(Buffer.alloc(1000), { signal: AbortSignal.abort() })).rejects.toMatchObject({
      name: "AbortError",
    });
    const pushed = writer.push(Buffer.alloc(1000, 2));
    setTimeout(() => reader.tryPop(), 20);
    await pushed;
    let last: Buffer | null = null;
    for (let next = reader.tryPop(); next !== null; next = reader.tryPop()) last = next;
    expect(last?.[0]).toBe(2);
    for (const ring of [writer, reader]) ring.close();
  });

  test("ends with EBADF when the object is closed meanwhile", async () => {
    const [writer, reader] = pair();
    const popped = expect(reader.pop()).rejects.toEqual(refusal("EBADF"));
    await sleep(20);
    reader.close();
    await popped;
    writer.close();
  });
});

describe("the end", () => {
  test("is null once all writers have closed and all is read, whether one waits for it or not", async () => {
    const [writer, reader] = pair();
    const second = RingBuffer.open(writer.name, { role: "writer" });
    writer.tryPush("one");
    writer.close();
    second.tryPush("two");
    const got: string[] = [];
    const reading = (async () => {
      for await (const message of reader) got.push(String(message));
    })();
    await sleep(20);
    second.close();
    await reading;
    expect(got).toEqual(["one", "two"]);
    expect(await reader.pop()).toBeNull();
    reader.close();
  });

  test("is ECONNRESET when a writer was killed, after all that it had pushed", async () => {
    const name = names.fresh();
    using reader = RingBuffer.create(name, { size: 4096, role: "reader" });
    const program = new NodeProgram(`
      globalThis.ring = ipc.RingBuffer.open(${JSON.stringify(name)}, { role: "writer" });
      ring.tryPush("last words");
      say("pushed");`);
    await program.heard();
    await program.kill();
    expect(String(await reader.pop())).toBe("last words");
    await expect(reader.pop()).rejects.toEqual(refusal("ECONNRESET"));
    expect(reader.stats()).toMatchObject({ writers: 0, readers: 1, died: { writers: 1, readers: 0 } });
  });

  test("of the readers is EPIPE for a push into a full ring", async () => {
    const name = names.fresh();
    using writer = RingBuffer.create(name, { size: 4096, role: "writer" });
    const program = new NodeProgram(`
      globalThis.ring = ipc.RingBuffer.open(${JSON.stringify(name)}, { role: "reader" });
      say("there");`);
    await program.heard();
    while (writer.tryPush(Buffer.alloc(500)));
    const pushed = expect(writer.push(Buffer.alloc(500))).rejects.toEqual(refusal("EPIPE"));
    await program.kill();
    await pushed;
    expect(() => writer.tryPush(Buffer.alloc(500))).toThrow(refusal("EPIPE"));
  });
});

describe("a process killed right after", () => {
  const victim = (name: string, ledger: string, role: string, step: string) => {
    requireFreshBuild();
    const fixture = join(import.meta.dirname, "../fixtures/ipc/ring-victim.js");
    return new Promise((resolve) =>
      spawn(process.execPath, [fixture, name, ledger, role, "1", step], { stdio: ["pipe", "ignore", "inherit"] }).on(
        "exit",
        (_, signal) => resolve(signal),
      ),
    );
  };

  test.each([
    ["W1", false],
    ["W2.length", false],
    ["W2.half", false],
    ["W2", false],
    ["W3", true],
    ["W4", true],
    ["W5", true],
  ])("%s: its message is whole or not there, and the others go on", async (step, there) => {
    const name = names.fresh();
    using ledger = SharedMemory.create(`${name}-ledger`, { size: 256 });
    using reader = RingBuffer.create(name, { size: 4096, role: "reader" });
    using writer = RingBuffer.open(name, { role: "writer" });
    await writer.push("before");
    expect(await victim(name, ledger.name, "writer", step)).toBe("SIGKILL");
    await writer.push("after");
    expect(String(await reader.pop())).toBe("before");
    if (there) {
      const message = await reader.pop();
      expect(message?.readUInt32LE(4)).toBe(1);
      expect(message?.subarray(8).every((byte) => byte === 32)).toBe(true);
    }
    expect(String(await reader.pop())).toBe("after");
    expect(reader.tryPop()).toBeNull();
    // Its slot is given again, and the newcomer does not count as the owner of its lock.
    using newcomer = RingBuffer.open(name, { role: "writer" });
    await writer.push("one");
    await newcomer.push("two");
    expect([String(reader.tryPop()), String(reader.tryPop())]).toEqual(["one", "two"]);
  });

  test.each([
    ["R1", true],
    ["R2", true],
    ["R3", false],
    ["R4", false],
    ["R5", false],
  ])("%s: what it took is gone whole or still there, and the others go on", async (step, there) => {
    const name = names.fresh();
    using ledger = SharedMemory.create(`${name}-ledger`, { size: 256 });
    using writer = RingBuffer.create(name, { size: 4096, role: "writer" });
    using reader = RingBuffer.open(name, { role: "reader" });
    const first = Buffer.alloc(12, 32);
    first.writeUInt32LE(1, 0);
    first.writeUInt32LE(1, 4);
    await writer.push(first);
    await writer.push("second");
    expect(await victim(name, ledger.name, "reader", step)).toBe("SIGKILL");
    if (there) expect(await reader.pop()).toEqual(first);
    expect(String(await reader.pop())).toBe("second");
    expect(reader.tryPop()).toBeNull();
    using newcomer = RingBuffer.open(name, { role: "reader" });
    await writer.push("third");
    expect(String(await newcomer.pop())).toBe("third");
  });

  test(`${KILLS} random instants: nothing is torn, doubled, out of order, lost or left behind`, {
    timeout: 300_000,
  }, async () => {
    requireFreshBuild();
    const run = new Program(process.execPath, [
      join(import.meta.dirname, "../crash/ring-kill.js"),
      "--kills",
      String(KILLS),
    ]);
    expect(await run.ended).toMatchObject({ code: 0, stderr: "" });
    const [, json = "{}", verdict] = /^(.*) (ok|FAILED)$/.exec(await run.line()) ?? [];
    expect([JSON.parse(json), verdict]).toMatchObject([
      { torn: 0, disordered: 0, lost: 0, doubled: 0, stuck: 0 },
      "ok",
    ]);
  });
});

describe("a look without the lock", () => {
  /** Runs `between` right after the first atomic load of `look`: as if this thread had been set aside for a while there. */
  function interrupted<T>(look: () => T, between: () => void): T {
    const { load } = Atomics;
    let isFirst = true;
    const interrupting = ((words: Int32Array, at: number) => {
      const value = load(words, at);
      if (isFirst) {
        isFirst = false;
        between();
      }
      return value;
    }) as typeof Atomics.load;
    Atomics.load = interrupting;
    try {
      return look();
    } finally {
      Atomics.load = load;
    }
  }

  test("reports nothing false while others move both ends far", () => {
    const [writer, reader] = pair();
    using late = RingBuffer.open(writer.name, { role: "reader" });
    const message = Buffer.alloc(1000, 7);
    // More than the ring holds goes through, and one message stays.
    const others = () => {
      for (let i = 0; i < 9; i++) {
        expect(writer.tryPush(message)).toBe(true);
        if (i > 0) expect(reader.tryPop()).toEqual(message);
      }
    };
    expect(interrupted(() => late.tryPop(), others)).toEqual(message);
    const emptied = () => {
      others();
      expect(reader.tryPop()).toEqual(message);
    };
    expect(interrupted(() => late.tryPop(), emptied)).toBeNull();
    expect(interrupted(() => late.stats().bytes, emptied)).toBeLessThanOrEqual(writer.size);
    expect(late.stats().bytes).toBe(0);
    for (const ring of [writer, reader]) ring.close();
  });
});

describe("the segment", () => {
  test("is one object, as large as asked for and the power of two above; 64 take part, the 65th is EUSERS", () => {
    const name = names.fresh();
    const first = RingBuffer.create(name, { size: 5000, role: "writer" });
    expect([first.size, first.maxMessage]).toEqual([8192, 8188]);
    expect(names.files().filter((file) => file === name.slice(1))).toEqual([name.slice(1)]);
    const all = [first];
    while (all.length < 64) all.push(RingBuffer.open(name, { role: all.length % 2 ? "reader" : "writer" }));
    expect(() => RingBuffer.open(name, { role: "writer" })).toThrow(refusal("EUSERS"));
    all.pop()?.close();
    all.push(RingBuffer.open(name, { role: "reader" }));
    expect(first.stats()).toMatchObject({ writers: 32, readers: 32, died: { writers: 0, readers: 0 } });
    for (const ring of all) ring.close();
    expect([descriptorsOf(name), mappings(name)]).toEqual([0, 0]);
    RingBuffer.unlink(name);
    expect(exists(segmentFile(name))).toBe(false);
  });

  test("of another kind, size or version is refused; one whose creator died is finished", async () => {
    const name = names.fresh();
    using other = SharedMemory.create(name, { size: 5000 });
    expect(() => RingBuffer.open(name, { role: "reader" })).toThrow(/not a ring: it has 5000 bytes/);
    other.unlink();
    const [writer, reader] = pair();
    const words = new Int32Array(SharedMemory.open(writer.name).buffer);
    words[1] = 9;
    expect(() => RingBuffer.open(writer.name, { role: "reader" })).toThrow(
      /layout version 9, this ptalk understands 1/,
    );
    words[0] = 5;
    expect(() => RingBuffer.open(writer.name, { role: "reader" })).toThrow(/begins with other bytes/);
    for (const ring of [writer, reader]) ring.close();
    const blank = names.fresh();
    writeFileSync(segmentFile(blank), "");
    using made = RingBuffer.openOrCreate(blank, { size: 4096, role: "writer" });
    expect(made.tryPush("works")).toBe(true);
  });

  test("that somebody scribbles over, or truncates, is EIO or whole messages, never a crash", async () => {
    const program = new NodeProgram(`
      const words = () => new Int32Array(ipc.SharedMemory.open(name).buffer);
      const name = ${JSON.stringify(names.fresh())};
      const writer = ipc.RingBuffer.create(name, { size: 4096, role: "writer" });
      const reader = ipc.RingBuffer.open(name, { role: "reader" });
      const seen = new Set();
      let seed = 12345;
      const random = () => (seed = (seed * 48271) % 2147483647);
      const all = words();
      for (let i = 0; i < 20_000; i++) {
        // The locks' owners are left alone: a live owner that does not exist would be waited for.
        const at = [17, 33, 48, 49, 64, 65, 80, 81, 1120 + random() % 1024][random() % 9];
        all[at] = random() % 3 ? random() : random() % 5000;
        for (const use of [() => writer.tryPush(Buffer.alloc(random() % 4000)), () => reader.tryPop(), () => reader.stats()]) {
          try { use(); } catch (error) { seen.add(error.code); }
        }
      }
      say([...seen].sort());`);
    const seen = (await program.heard()) as string[];
    expect(seen).toContain("EIO");
    expect(seen.filter((code) => !["EIO", "EPIPE"].includes(code))).toEqual([]);
    await program.end();
    const [writer, reader] = pair();
    truncateSync(segmentFile(writer.name), 0);
    await expect(reader.pop({ timeoutMs: 1000 })).rejects.toEqual(refusal("EIO"));
    for (const ring of [writer, reader]) ring.close();
  });

  test("refuses wrong arguments", () => {
    const name = names.fresh();
    for (const size of [0, -1, 0.5, 2 ** 31])
      expect(() => RingBuffer.create(name, { size, role: "writer" })).toThrow(RangeError);
    expect(() => RingBuffer.create(name, { size: 4096, role: "both" as never })).toThrow(TypeError);
    expect(() => RingBuffer.open(name, {} as never)).toThrow(TypeError);
    expect(() => RingBuffer.open(name, { role: "reader" })).toThrow(refusal("ENOENT"));
  });
});
