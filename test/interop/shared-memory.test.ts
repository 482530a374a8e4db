// One segment, seen from Node and from a program in another language, both ways.
import { statSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { SharedMemory } from "../../lib/ipc/index.ts";
import { ObjectNames, segmentFile } from "../helpers/object-names.ts";
import { peers } from "../helpers/peers.ts";

const ENOENT = 2;
const EEXIST = 17;
const names = new ObjectNames("interop-shm");
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

afterAll(() => names.sweep());

describe.each(peers())("$language and Node", ({ missing, start }) => {
  // Vitest shows the reason beside the skipped test.
  test.beforeEach(({ skip }) => {
    if (missing) skip(missing);
  });

  test("read what the other wrote, in a segment that Node created", async () => {
    const peer = start();
    using segment = SharedMemory.create(names.fresh(), { size: 10_000 });
    expect(await peer.ask(`shm open ${segment.name}`)).toBe("ok");
    expect(await peer.ask("shm size")).toBe("10000");
    const view = new DataView(segment.buffer);
    view.setInt32(0, -7, true);
    view.setFloat64(8, Math.PI, true);
    view.setBigUint64(9_992, 2n ** 63n + 1n, true);
    expect(await peer.ask("shm read 0 4")).toBe("f9ffffff");
    expect(await peer.ask("shm read 8 8")).toBe("182d4454fb210940");
    expect(await peer.ask("shm read 9992 8")).toBe("0100000000000080");
    expect(await peer.ask("shm write 4096 68656c6c6f")).toBe("ok");
    expect(Buffer.from(segment.buffer, 4096, 5).toString()).toBe("hello");
    segment.unlink();
  });

  test("read what the other wrote, in a segment that the other created", async () => {
    const peer = start();
    const name = names.fresh();
    expect(await peer.ask(`shm create ${name} 777`)).toBe("ok");
    expect(await peer.ask("shm write 770 00ff10")).toBe("ok");
    using segment = SharedMemory.open(name);
    expect(segment.size).toBe(777);
    expect(hex(segment.read(769, 5))).toBe("0000ff1000");
    new Uint8Array(segment.buffer).set([1, 2, 3], 774);
    expect(await peer.ask("shm read 774 3")).toBe("010203");
    using reader = SharedMemory.open(name, { readOnly: true });
    expect(hex(reader.read(774))).toBe("010203");
    expect(await peer.ask("shm write 0 5a")).toBe("ok");
    expect(hex(reader.read(0, 1))).toBe("5a");
    expect(SharedMemory.list(names.prefix)).toEqual([name]);
    segment.unlink();
  });

  test("exclude each other at creation", async () => {
    const peer = start();
    const [theirs, ours] = [names.fresh(), names.fresh()];
    expect(await peer.ask(`shm create ${theirs} 64`)).toBe("ok");
    expect(() => SharedMemory.create(theirs, { size: 64 })).toThrow(
      expect.objectContaining({ code: "EEXIST", errno: EEXIST, syscall: "shm_open", path: theirs }),
    );
    using segment = SharedMemory.create(ours, { size: 64 });
    expect(await peer.ask(`shm create ${ours} 64`)).toBe(`error ${EEXIST}`);
    expect(segment.size).toBe(64);
    SharedMemory.unlink(theirs);
    SharedMemory.unlink(ours);
  });

  test("keep a segment whose name the other removed", async () => {
    const peer = start();
    using segment = SharedMemory.create(names.fresh(), { size: 128 });
    expect(await peer.ask(`shm open ${segment.name}`)).toBe("ok");
    expect(await peer.ask(`shm unlink ${segment.name}`)).toBe("ok");
    expect(() => SharedMemory.open(segment.name)).toThrow(expect.objectContaining({ code: "ENOENT" }));
    new Uint8Array(segment.buffer)[5] = 0xab;
    expect(await peer.ask("shm read 5 1")).toBe("ab");
    expect(await peer.ask(`shm open ${segment.name}`)).toBe(`error ${ENOENT}`);
  });

  test("leave a segment to the other when one has gone", async () => {
    const name = names.fresh();
    const creator = start();
    expect(await creator.ask(`shm create ${name} 32`)).toBe("ok");
    expect(await creator.ask("shm write 0 01020304")).toBe("ok");
    expect(await creator.end()).toMatchObject({ code: 0 });
    using segment = SharedMemory.open(name);
    expect(hex(segment.read(0, 4))).toBe("01020304");
    segment.close();
    const reader = start();
    expect(await reader.ask(`shm open ${name}`)).toBe("ok");
    expect(await reader.ask("shm read 0 4")).toBe("01020304");
    expect(await reader.end()).toMatchObject({ code: 0 });
    expect(statSync(segmentFile(name)).size).toBe(32);
    SharedMemory.unlink(name);
  });
});

describe.each(peers().filter(({ language }) => language === "C"))("$language and Node", ({ missing, start }) => {
  test.beforeEach(({ skip }) => {
    if (missing) skip(missing);
  });

  test("add to one word atomically, and lose none", async () => {
    const times = 2_000_000;
    const peer = start();
    using segment = SharedMemory.create(names.fresh(), { size: 4096 });
    expect(await peer.ask(`shm open ${segment.name}`)).toBe("ok");
    const words = new Int32Array(segment.buffer);
    const theirs = peer.ask(`shm add 64 ${times}`);
    for (let i = 0; i < times; i++) Atomics.add(words, 16, 1);
    expect(await theirs).toBe("ok");
    expect(Atomics.load(words, 16)).toBe(2 * times);
    segment.unlink();
  });

  test("survive, in Node, that the other truncates the segment: gone pages read as zeros", async () => {
    const peer = start();
    using segment = SharedMemory.create(names.fresh(), { size: 65_536 });
    const bytes = new Uint8Array(segment.buffer).fill(0xff);
    expect(await peer.ask(`shm truncate ${segment.name} 0`)).toBe("ok");
    expect(bytes[0]).toBe(0);
    expect(hex(segment.read(40_000, 4))).toBe("00000000");
    bytes[60_000] = 1;
    expect(bytes[60_000]).toBe(1);
    segment.unlink();
  });
});
