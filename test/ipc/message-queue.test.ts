// POSIX message queues, between Node processes and with C and Python at the other end.
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { MessageQueue, sigaction } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { ObjectNames } from "../helpers/object-names.ts";
import { descriptorsOf } from "../helpers/own-process.ts";
import { canChangeUser, whyNoQueues, withQueues } from "../helpers/privileges.ts";
import { Program } from "../helpers/program.ts";

const names = new ObjectNames("queue");
const made: string[] = [];
const fresh = (): string => {
  const name = names.fresh();
  made.push(name);
  return name;
};
afterAll(() => {
  for (const name of made) {
    try {
      MessageQueue.unlink(name);
    } catch {} // the test has done so
  }
});
const refusal = (code: string) => expect.objectContaining({ name: "IpcError", code });
const text = (message: { data: Buffer; priority: number } | null) =>
  message && [String(message.data), message.priority];

describe("messages", () => {
  test("come whole, the highest priority first, those of one priority in the order they were sent", () => {
    using queue = MessageQueue.create(fresh());
    for (const [message, priority] of [
      ["a", 0],
      ["b", 5],
      ["c", 0],
      ["d", 5],
      ["e", 32_767],
      ["", 1],
    ] as const)
      expect(queue.trySend(message, priority)).toBe(true);
    expect(queue.waiting).toBe(6);
    const got = Array.from({ length: 7 }, () => text(queue.tryReceive()));
    expect(got).toEqual([["e", 32_767], ["b", 5], ["d", 5], ["", 1], ["a", 0], ["c", 0], null]);
  });

  test("wait for room and for each other across processes; deadlines and signals take nothing", async () => {
    using queue = MessageQueue.create(fresh(), { maxMessages: 2, messageSize: 100 });
    expect(queue).toMatchObject({ maxMessages: 2, messageSize: 100 });
    await expect(queue.receive({ timeoutMs: 20 })).rejects.toEqual(refusal("ETIMEDOUT"));
    await expect(queue.receive({ signal: AbortSignal.timeout(20) })).rejects.toMatchObject({ name: "AbortError" });
    const program = new NodeProgram(`
      const queue = ipc.MessageQueue.open(${JSON.stringify(queue.name)});
      for (let i = 0; i < 50; i++) await queue.send("message " + i);
      say("sent");`);
    for (let i = 0; i < 50; i++) expect(text(await queue.receive())).toEqual([`message ${i}`, 0]);
    expect(await program.heard()).toBe("sent");
    await program.end();
    expect([queue.trySend("1"), queue.trySend("2"), queue.trySend("3")]).toEqual([true, true, false]);
    await expect(queue.send("3", { timeoutMs: 20 })).rejects.toEqual(refusal("ETIMEDOUT"));
    const sent = queue.send("3", { priority: 9 });
    await sleep(20);
    expect(text(queue.tryReceive())).toEqual(["1", 0]);
    await sent;
    expect(text(queue.tryReceive())).toEqual(["3", 9]);
    expect(() => queue.trySend("x".repeat(101))).toThrow(refusal("EMSGSIZE"));
  });

  test("outlive a killed sender, and a killed receiver takes none along that it had not received", async () => {
    using queue = MessageQueue.create(fresh());
    const sender = new NodeProgram(`
      ipc.MessageQueue.open(${JSON.stringify(queue.name)}).trySend("last words"); say("sent");`);
    await sender.heard();
    await sender.kill();
    const receiver = new NodeProgram(`
      globalThis.queue = ipc.MessageQueue.open(${JSON.stringify(queue.name)}); queue.receive(); queue.receive(); say("waiting");`);
    await receiver.heard();
    await receiver.kill();
    expect(queue.waiting).toBeLessThanOrEqual(1);
    queue.trySend("next");
    expect(text(queue.tryReceive())?.[0]).toMatch(/last words|next/);
  });

  test("go both ways between Node and Python", async ({ skip }) => {
    using queue = MessageQueue.create(fresh(), { messageSize: 64 });
    const python = new Program("python3", [
      "-c",
      `import ctypes,sys
try:
    librt=ctypes.CDLL("librt.so.1",use_errno=True); librt.mq_open
except (OSError,AttributeError):
    print("no librt",flush=True); sys.exit()
q=librt.mq_open(${JSON.stringify(queue.name)}.encode(),2)
b=ctypes.create_string_buffer(64); p=ctypes.c_uint(0)
n=librt.mq_receive(q,b,64,ctypes.byref(p))
print(b.raw[:n].decode(),p.value,flush=True)
librt.mq_send(q,b"from Python",11,7)
print("sent",flush=True)`,
    ]);
    queue.trySend("from Node", 3);
    const heard = await python.line();
    if (heard === "no librt") skip(heard);
    expect(heard).toBe("from Node 3");
    expect(await python.line()).toBe("sent");
    expect(text(queue.tryReceive())).toEqual(["from Python", 7]);
    await python.end();
  });
});

describe("notify", () => {
  test("sends the signal once, when a message comes into the empty queue", async () => {
    using queue = MessageQueue.create(fresh());
    const heard: unknown[] = [];
    const claim = sigaction("SIGRTMIN+7", ({ code, value }) => heard.push([code, value]));
    queue.notify("SIGRTMIN+7", 42);
    using other = MessageQueue.open(queue.name);
    queue.trySend("1");
    queue.trySend("2");
    while (heard.length === 0) await sleep(1);
    await sleep(20);
    expect(heard).toEqual([[-3, 42]]);
    const request = queue.notify("SIGRTMIN+7", 1);
    expect(() => other.notify("SIGRTMIN+7")).toThrow(refusal("EBUSY"));
    request[Symbol.dispose]();
    other.notify("SIGRTMIN+7")[Symbol.dispose]();
    claim[Symbol.dispose]();
  });
});

describe("the queue", () => {
  test("is created exclusively, opened and unlinked by name", () => {
    const name = fresh();
    expect(() => MessageQueue.open(name)).toThrow(refusal("ENOENT"));
    using queue = MessageQueue.openOrCreate(name, { maxMessages: 3 });
    expect(() => MessageQueue.create(name)).toThrow(refusal("EEXIST"));
    expect(MessageQueue.openOrCreate(name, { maxMessages: 9 }).maxMessages).toBe(3);
    queue.unlink();
    expect(() => queue.unlink()).toThrow(refusal("ENOENT"));
    expect(queue.trySend("goes on")).toBe(true);
  });

  test.skipIf(whyNoQueues !== null)("is listed by name where /dev/mqueue is mounted", async () => {
    const program = withQueues(`
      const queues = ["/b", "/a1", "/a2"].map((name) => ipc.MessageQueue.create(name));
      const lists = [ipc.MessageQueue.list(), ipc.MessageQueue.list("a"), ipc.MessageQueue.list("/c")];
      for (const queue of queues) queue.unlink();
      say([...lists, ipc.MessageQueue.list()]);`);
    expect(await program.heard()).toEqual([["/a1", "/a2", "/b"], ["/a1", "/a2"], [], []]);
    await program.end();
  });

  test.skipIf(existsSync("/dev/mqueue"))("cannot be listed where it is not, and the error says how to mount it", () => {
    expect(() => MessageQueue.list()).toThrow(/ENOENT.*mount -t mqueue none \/dev\/mqueue/);
  });

  test("opened for one role refuses the other, and is EBADF once closed, for waits that are pending too", async () => {
    const name = fresh();
    using queue = MessageQueue.create(name);
    using writer = MessageQueue.open(name, { role: "writer" });
    using reader = MessageQueue.open(name, { role: "reader" });
    expect(() => writer.tryReceive()).toThrow(refusal("EBADF"));
    expect(() => reader.trySend("x")).toThrow(refusal("EBADF"));
    const waiting = expect(reader.receive()).rejects.toEqual(refusal("EBADF"));
    await sleep(10);
    reader.close();
    await waiting;
    expect(() => reader.waiting).toThrow(refusal("EBADF"));
    expect(queue.waiting).toBe(0);
  });

  test("closes its descriptor, and refuses wrong arguments", async () => {
    const name = fresh();
    const before = descriptorsOf(name);
    for (let i = 0; i < 20; i++) MessageQueue.openOrCreate(name).close();
    expect(descriptorsOf(name)).toBe(before);
    for (const bad of ["", "plain", "/a/b"]) expect(() => MessageQueue.create(bad)).toThrow(refusal("EINVAL"));
    for (const maxMessages of [0, -1, 1.5])
      expect(() => MessageQueue.create(name, { maxMessages })).toThrow(RangeError);
    expect(() => MessageQueue.open(name, { role: "all" as never })).toThrow(TypeError);
    using queue = MessageQueue.open(name);
    for (const priority of [-1, 32_768, 0.5]) expect(() => queue.trySend("x", priority)).toThrow(RangeError);
    expect(() => queue.trySend(5 as never)).toThrow(TypeError);
    await expect(queue.receive({ timeoutMs: -1 })).rejects.toThrow(RangeError);
  });

  test.skipIf(!canChangeUser)("of another user is EACCES without permission", async () => {
    using queue = MessageQueue.create(fresh());
    const other = new NodeProgram(`
      process.setuid(65534);
      const codeOf = (call) => { try { call(); return "done"; } catch (error) { return error.code; } };
      say([codeOf(() => ipc.MessageQueue.open(${JSON.stringify(queue.name)})), codeOf(() => ipc.MessageQueue.unlink(${JSON.stringify(queue.name)}))]);`);
    expect(await other.heard()).toEqual(["EACCES", "EACCES"]);
    await other.end();
  });
});
