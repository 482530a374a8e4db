// One named semaphore, used from Node and from a program in another language, both ways.
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { Semaphore, SharedMemory } from "../../lib/ipc/index.ts";
import { ObjectNames } from "../helpers/object-names.ts";
import { peers } from "../helpers/peers.ts";

const EAGAIN = 11;
const ETIMEDOUT = 110;
const names = new ObjectNames("interop-sem");

afterAll(() => names.sweep());

describe.each(peers())("$language and Node", ({ language, missing, start }) => {
  test.beforeEach(({ skip }) => {
    if (missing) skip(missing);
  });

  test("count on one value, in a semaphore that Node created", async () => {
    const peer = start();
    using semaphore = Semaphore.create(names.fresh(), { value: 2 });
    expect(await peer.ask(`sem open ${semaphore.name}`)).toBe("ok");
    expect(await peer.ask("sem value")).toBe("2");
    expect(await peer.ask("sem wait")).toBe("ok");
    expect(semaphore.value).toBe(1);
    expect(semaphore.tryWait()).toBe(true);
    expect(await peer.ask("sem trywait")).toBe(`error ${EAGAIN}`);
    expect(await peer.ask("sem timedwait 5")).toBe(`error ${ETIMEDOUT}`);
    expect(semaphore.tryWait()).toBe(false);
    expect(await peer.ask("sem post")).toBe("ok");
    semaphore.wait();
    expect(await peer.ask("sem value")).toBe("0");
    semaphore.unlink();
  });

  test("count on one value, in a semaphore that the other created", async () => {
    const peer = start();
    const name = names.fresh();
    expect(await peer.ask(`sem create ${name} 1`)).toBe("ok");
    using semaphore = Semaphore.open(name);
    expect(semaphore.value).toBe(1);
    expect(Semaphore.list(names.prefix)).toEqual([name]);
    expect(() => Semaphore.create(name)).toThrow(expect.objectContaining({ code: "EEXIST" }));
    semaphore.wait();
    expect(await peer.ask("sem trywait")).toBe(`error ${EAGAIN}`);
    semaphore.post();
    expect(await peer.ask("sem trywait")).toBe("ok");
    semaphore.unlink();
  });

  test("wake the other", async () => {
    const peer = start();
    using semaphore = Semaphore.create(names.fresh());
    expect(await peer.ask(`sem open ${semaphore.name}`)).toBe("ok");
    const theirs = peer.ask("sem wait");
    await sleep(20);
    semaphore.post();
    expect(await theirs).toBe("ok");
    const ours = semaphore.waitAsync();
    await sleep(20);
    expect(await peer.ask("sem post")).toBe("ok");
    expect(await ours).toBe(true);
    // A blocking wait: the other posts while this thread can do nothing else.
    peer.say("sem post");
    expect(semaphore.timedWait(30_000)).toBe(true);
    expect(await peer.line()).toBe("ok");
    expect(semaphore.value).toBe(0);
    semaphore.unlink();
  });

  test("a waiter that is killed takes nothing with it", async () => {
    const peer = start();
    using semaphore = Semaphore.create(names.fresh());
    expect(await peer.ask(`sem open ${semaphore.name}`)).toBe("ok");
    peer.say("sem wait");
    await sleep(50);
    await peer.kill();
    semaphore.post();
    expect(semaphore.value).toBe(1);
    expect(semaphore.tryWait()).toBe(true);
    semaphore.unlink();
  });

  test("exclude each other: a counter that is not atomic comes out exact", async () => {
    // ctypes is some hundred times slower than C.
    const times = language === "C" ? 200_000 : 20_000;
    const peer = start();
    using segment = SharedMemory.create(names.fresh(), { size: 64 });
    using semaphore = Semaphore.create(names.fresh(), { value: 1 });
    expect(await peer.ask(`shm open ${segment.name}`)).toBe("ok");
    expect(await peer.ask(`sem open ${semaphore.name}`)).toBe("ok");
    const words = new Int32Array(segment.buffer);
    const theirs = peer.ask(`sem guarded-add 8 ${times}`);
    for (let i = 0; i < times; i++) {
      semaphore.wait();
      words[2] = (words[2] as number) + 1;
      semaphore.post();
    }
    expect(await theirs).toBe("ok");
    expect(words[2]).toBe(2 * times);
    expect(semaphore.value).toBe(1);
    segment.unlink();
    semaphore.unlink();
  });
});
