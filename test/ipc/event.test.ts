// Event, for many waiters, and waitAny, over all that can be waited for.
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { Event, RingBuffer, Semaphore, SharedMemory, waitAny } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { exists, ObjectNames, segmentFile } from "../helpers/object-names.ts";

const names = new ObjectNames("event");
afterAll(() => names.sweep());
const refusal = (code: string) => expect.objectContaining({ name: "IpcError", code });

describe("Event", () => {
  test("lets everybody through once set, in all processes, until it is reset", async () => {
    using event = Event.create(names.fresh());
    const waiters = [1, 2, 3].map(
      () =>
        new NodeProgram(`
          const event = ipc.Event.open(${JSON.stringify(event.name)});
          say("ready");
          say(await Promise.all([event.wait(), event.wait(), event.wait()]));`),
    );
    for (const waiter of waiters) expect(await waiter.heard()).toBe("ready");
    expect(event.isSet).toBe(false);
    event.set();
    event.set();
    for (const waiter of waiters) expect(await waiter.heard()).toEqual([true, true, true]);
    expect(await event.wait({ timeoutMs: 0 })).toBe(true);
    event.reset();
    event.reset();
    expect(event.isSet).toBe(false);
    expect(await event.wait({ timeoutMs: 20 })).toBe(false);
    for (const waiter of waiters) await waiter.end();
  });

  test("wakes by a pulse all waiters, and no later one; a set that was reset at once is seen", async () => {
    using event = Event.create(names.fresh());
    const waits = [event.wait(), event.wait()];
    event.pulse();
    expect(await Promise.all(waits)).toEqual([true, true]);
    expect([event.isSet, await event.wait({ timeoutMs: 10 })]).toEqual([false, false]);
    const late = event.wait();
    await sleep(20);
    event.set();
    event.reset();
    expect(await late).toBe(true);
  });

  test("gives up by its signal, rejects when closed, and is not hurt by a waiter that is killed", async () => {
    using event = Event.create(names.fresh());
    await expect(event.wait({ signal: AbortSignal.timeout(10) })).rejects.toMatchObject({ name: "AbortError" });
    const program = new NodeProgram(`ipc.Event.open(${JSON.stringify(event.name)}).wait(); say("waiting");`);
    await program.heard();
    await program.kill();
    const other = Event.open(event.name);
    const pending = expect(other.wait()).rejects.toEqual(refusal("EBADF"));
    await sleep(20);
    other.close();
    await pending;
    expect(() => other.set()).toThrow(refusal("EBADF"));
    const wait = event.wait();
    event.set();
    expect(await wait).toBe(true);
  });

  test("is found by name, and refuses another object", () => {
    const name = names.fresh();
    expect(() => Event.open(name)).toThrow(refusal("ENOENT"));
    using event = Event.openOrCreate(name);
    expect(() => Event.create(name)).toThrow(refusal("EEXIST"));
    event.unlink();
    expect(exists(segmentFile(name))).toBe(false);
    using other = SharedMemory.create(name, { size: 64 });
    new Int32Array(other.buffer)[0] = 3;
    expect(() => Event.open(name)).toThrow(/not an event/);
  });
});

describe("waitAny", () => {
  const stage = () => {
    const name = names.fresh();
    return {
      semaphore: Semaphore.create(`${name}-s`),
      event: Event.create(`${name}-e`),
      ring: RingBuffer.create(`${name}-r`, { size: 4096, role: "reader" }),
      writer: RingBuffer.open(`${name}-r`, { role: "writer" }),
    };
  };

  test.each(["semaphore", "event", "ring", "process"])("gives what came: a %s", async (which) => {
    const { semaphore, event, ring, writer } = stage();
    const program = new NodeProgram("say(true);");
    await program.heard();
    const first = waitAny([semaphore, event, ring, { pid: program.pid }]);
    await sleep(20);
    if (which === "semaphore") semaphore.post();
    else if (which === "event") event.set();
    else if (which === "ring") writer.tryPush("message");
    else program.child.kill("SIGKILL");
    const got = await first;
    expect(got?.index).toBe(["semaphore", "event", "ring", "process"].indexOf(which));
    if (which === "ring") expect(String(got?.value)).toBe("message");
    else if (which === "process") expect(got?.value).toMatchObject({ pid: program.pid });
    else expect(got?.value).toBe(true);
    await program.kill();
    for (const each of [semaphore, event, ring, writer]) each.close();
  });

  test("takes of one only: no token and no message is lost", async () => {
    const { semaphore, event, ring, writer } = stage();
    using second = Semaphore.create(names.fresh());
    let [taken, given] = [0, 0];
    for (let round = 0; round < 200; round++) {
      const first = waitAny([semaphore, second, ring]);
      if (round % 2) await sleep(round % 3);
      semaphore.post();
      second.post();
      writer.tryPush(String(round));
      given += 3;
      expect(await first).not.toBeNull();
      taken++;
    }
    await sleep(150); // a wait that was given up comes up for air
    let left = semaphore.value + second.value;
    while (ring.tryPop() !== null) left++;
    expect(taken + left).toBe(given);
    for (const each of [semaphore, event, ring, writer]) each.close();
  });

  test("is null at its deadline, an AbortError by its signal, an error where a source has one; null is a ring's end", async () => {
    const { semaphore, event, ring, writer } = stage();
    expect(await waitAny([semaphore, event], { timeoutMs: 20 })).toBeNull();
    await expect(waitAny([semaphore, ring], { signal: AbortSignal.timeout(20) })).rejects.toMatchObject({
      name: "AbortError",
    });
    await expect(waitAny([semaphore], { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: "AbortError" });
    writer.close();
    expect(await waitAny([semaphore, ring])).toEqual({ index: 1, value: null });
    const gone = new NodeProgram("");
    await gone.end();
    await expect(waitAny([event, { pid: gone.pid }])).rejects.toEqual(refusal("ESRCH"));
    await expect(waitAny([])).rejects.toThrow(TypeError);
    await expect(waitAny([5 as never])).rejects.toThrow(TypeError);
    semaphore.close();
    await expect(waitAny([event, semaphore])).rejects.toEqual(refusal("EBADF"));
    for (const each of [event, ring]) each.close();
  });
});
