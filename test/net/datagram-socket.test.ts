// UDP through the addon: what comes is told whole and with its sender, in batches; what ends in the middle leaves nothing.
import { execFileSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { constants } from "node:os";
import { afterEach, describe, expect, test } from "vitest";
import { type DatagramReceiver, DatagramSocket } from "../../lib/net/datagram-socket.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { descriptors } from "../helpers/own-process.ts";

const BUFFER_BYTES = 1024 * 1024;
const SLOT_BYTES = 2048;
const module_ = new URL("../../dist/net/datagram-socket.js", import.meta.url).href;
const sockets: DatagramSocket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.close();
});

interface Told {
  readonly text: string;
  readonly address: string;
  readonly port: number;
}

/** Collects what it is told, and how it came: batches[i] datagrams at once. */
class Listener implements DatagramReceiver {
  readonly told: Told[] = [];
  readonly batches: number[] = [];
  readonly errors: Error[] = [];
  #batch = 0;
  #wanted = 0;
  #enough = () => {};

  onDatagram(datagram: Buffer, address: string, port: number): void {
    this.told.push({ text: datagram.toString("latin1"), address, port });
    this.#batch++;
  }
  onRead(): void {
    this.batches.push(this.#batch);
    this.#batch = 0;
    if (this.told.length >= this.#wanted) this.#enough();
  }
  onError(error: Error): void {
    this.errors.push(error);
  }
  until(count: number): Promise<void> {
    return new Promise((resolve) => {
      this.#wanted = count;
      this.#enough = resolve;
      if (this.told.length >= count) resolve();
    });
  }
}

function open(address: string, receiver: DatagramReceiver = new Listener(), port = 0): DatagramSocket {
  const socket = new DatagramSocket(address, port, BUFFER_BYTES, receiver);
  sockets.push(socket);
  return socket;
}

const hasIPv6 = (() => {
  try {
    new DatagramSocket("::1", 0, BUFFER_BYTES, new Listener()).close();
    return true;
  } catch {
    return false;
  }
})();

describe("what arrives", () => {
  test("is told with its sender, byte for byte, the empty one too", async () => {
    const listener = new Listener();
    const [a, b] = [open("127.0.0.1", listener), open("127.0.0.1")];
    const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    for (const datagram of [all, Buffer.alloc(0), Buffer.alloc(1200, "x")]) {
      expect(b.send(datagram, "127.0.0.1", a.port)).toBe(0);
    }
    await listener.until(3);
    const from = { address: "127.0.0.1", port: b.port };
    expect(listener.told).toEqual([
      { text: all.toString("latin1"), ...from },
      { text: "", ...from },
      { text: "x".repeat(1200), ...from },
    ]);
  });

  test("comes from and goes to node:dgram and other languages", async () => {
    const listener = new Listener();
    const socket = open("127.0.0.1", listener);
    const node = createSocket("udp4").bind(0, "127.0.0.1");
    await once(node, "listening");
    node.send("from node", socket.port, "127.0.0.1");
    await listener.until(1);
    const [datagram] = await Promise.all([
      once(node, "message"),
      socket.send(Buffer.from("to node"), "127.0.0.1", node.address().port),
    ]);
    node.close();
    expect(datagram.toString()).toContain("to node");
    const python = `import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"from python", ("127.0.0.1", ${socket.port}))`;
    execFileSync("python3", ["-c", python]);
    await listener.until(2);
    expect(listener.told.map(({ text }) => text)).toEqual(["from node", "from python"]);
  });

  test("is read in batches, in order, from several senders", async () => {
    const listener = new Listener();
    const socket = open("127.0.0.1", listener);
    const senders = [open("127.0.0.1"), open("127.0.0.1"), open("127.0.0.1")];
    const count = 300;
    for (let i = 0; i < count; i++) {
      (senders[i % 3] as DatagramSocket).send(Buffer.from(String(i)), "127.0.0.1", socket.port);
    }
    await listener.until(count);
    expect(listener.told).toEqual(
      Array.from({ length: count }, (_, i) => ({
        text: String(i),
        address: "127.0.0.1",
        port: (senders[i % 3] as DatagramSocket).port,
      })),
    );
    expect(Math.max(...listener.batches)).toBeGreaterThan(1);
  });

  test("is cut to a bound when it is longer than any protocol sends", async () => {
    const listener = new Listener();
    const socket = open("127.0.0.1", listener);
    open("127.0.0.1").send(Buffer.alloc(60_000, "y"), "127.0.0.1", socket.port);
    await listener.until(1);
    expect(listener.told[0]?.text).toBe("y".repeat(SLOT_BYTES));
  });

  test("is told although the listener threw at another one, and the exception is nobody's secret", async () => {
    const program = new NodeProgram(`
      const { DatagramSocket } = await import(${JSON.stringify(module_)});
      process.on("uncaughtException", (error) => say(error.message));
      const told = [];
      const receiver = {
        onDatagram(datagram) {
          told.push(Number(datagram));
          if (told.length === 1) throw new Error("the first");
        },
        onRead: () => told.length === 20 && say(told),
        onError() {},
      };
      const socket = new DatagramSocket("127.0.0.1", 0, 65536, receiver);
      for (let i = 0; i < 20; i++) socket.send(Buffer.from(String(i)), "127.0.0.1", socket.port);`);
    const heard = [await program.heard(), await program.heard()];
    expect(heard).toContain("the first");
    expect(heard).toContainEqual(Array.from({ length: 20 }, (_, i) => i));
    await program.end();
  });
});

describe.skipIf(!hasIPv6)("IPv6", () => {
  test("speaks IPv4 too, under its own name", async () => {
    const [listener, answers] = [new Listener(), new Listener()];
    const [both, four, six] = [open("::", listener), open("127.0.0.1", answers), open("::1")];
    four.send(Buffer.from("4"), "127.0.0.1", both.port);
    six.send(Buffer.from("6"), "::1", both.port);
    await listener.until(2);
    expect(listener.told).toEqual(
      expect.arrayContaining([
        { text: "4", address: "127.0.0.1", port: four.port },
        { text: "6", address: "::1", port: six.port },
      ]),
    );
    expect(both.send(Buffer.from("back"), "127.0.0.1", four.port)).toBe(0);
    await answers.until(1);
    expect(answers.told).toEqual([{ text: "back", address: "127.0.0.1", port: both.port }]);
  });
});

describe("failures", () => {
  test("to bind are named as the system names them", () => {
    const taken = open("127.0.0.1");
    expect(() => open("127.0.0.1", new Listener(), taken.port)).toThrow(
      expect.objectContaining({ code: "EADDRINUSE", syscall: "bind", path: "127.0.0.1" }),
    );
    expect(() => open("203.0.113.7")).toThrow(expect.objectContaining({ code: "EADDRNOTAVAIL" }));
    expect(() => open("not an address")).toThrow(expect.objectContaining({ code: "EINVAL" }));
    for (const port of [-1, 65_536, 1.5, Number.NaN]) {
      expect(() => open("127.0.0.1", new Listener(), port)).toThrow(expect.objectContaining({ code: "EINVAL" }));
    }
  });

  test("to send are numbers, and no exception", () => {
    const socket = open("127.0.0.1");
    expect(socket.send(Buffer.from("x"), "not an address", 1)).toBe(constants.errno.EINVAL);
    expect(socket.send(Buffer.alloc(70_000), "127.0.0.1", socket.port)).toBe(constants.errno.EMSGSIZE);
    expect(socket.send(Buffer.from("x"), "127.0.0.1", 0)).toBe(constants.errno.EINVAL);
  });
});

describe("the end", () => {
  test("frees the port at once, and twice is once", () => {
    const first = open("127.0.0.1");
    first.close();
    first.close();
    expect(open("127.0.0.1", new Listener(), first.port).port).toBe(first.port);
    expect(first.send(Buffer.from("x"), "127.0.0.1", first.port)).toBe(0);
  });

  test("may come in the middle of a batch: nothing more is told", async () => {
    const told: string[] = [];
    const socket: DatagramSocket = open("127.0.0.1", {
      onDatagram(datagram) {
        told.push(datagram.toString());
        socket.close();
      },
      onRead: () => told.push("read"),
      onError: () => {},
    });
    const sender = open("127.0.0.1");
    for (const text of ["1", "2", "3"]) sender.send(Buffer.from(text), "127.0.0.1", socket.port);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(told).toEqual(["1"]);
  });

  test("leaves no descriptor, a thousand times", async () => {
    const round = () => new DatagramSocket("127.0.0.1", 0, BUFFER_BYTES, new Listener()).close();
    round();
    const before = descriptors();
    for (let i = 0; i < 1000; i++) round();
    expect(descriptors()).toBe(before);
  });

  test("may come before the beginning is over", async () => {
    const addon = new URL("../../dist/native.js", import.meta.url).href;
    const half = new NodeProgram(`
      const { native } = await import(${JSON.stringify(addon)});
      native.udpOpen("127.0.0.1", 0, false, 65536);`);
    expect(await half.end()).toMatchObject({ code: 0, stderr: "" });
    const program = new NodeProgram(`
      const { Worker } = await import("node:worker_threads");
      const open = \`const { DatagramSocket } = await import(${JSON.stringify(module_)});
        const { parentPort } = await import("node:worker_threads");
        parentPort.postMessage("ready");
        const receiver = { onDatagram() {}, onRead() {}, onError() {} };
        globalThis.kept = Array.from({ length: 20 }, () => new DatagramSocket("127.0.0.1", 0, 65536, receiver));\`;
      const url = new URL("data:text/javascript," + encodeURIComponent(open));
      for (let i = 0; i < 60; i++) {
        const worker = new Worker(url);
        await new Promise((resolve) => worker.once("message", resolve));
        await new Promise((resolve) => setTimeout(resolve, i % 3));
        await worker.terminate();
      }
      say("survived");`);
    expect(await program.heard()).toBe("survived");
    await program.end();
  });

  test("comes with the thread or the process, wherever they are", async () => {
    const program = new NodeProgram(`
      const { Worker } = await import("node:worker_threads");
      const { readdirSync } = await import("node:fs");
      const open = \`const { DatagramSocket } = await import(${JSON.stringify(module_)});
        const { parentPort } = await import("node:worker_threads");
        const receiver = { onDatagram() { parentPort?.postMessage("told"); for (;;) if (!parentPort) process.exit(3); }, onRead() {}, onError() {} };
        const socket = new DatagramSocket("127.0.0.1", 0, 65536, receiver);
        parentPort?.postMessage("open");
        setInterval(() => socket.send(Buffer.from("x"), "127.0.0.1", socket.port), 1);\`;
      const url = new URL("data:text/javascript," + encodeURIComponent(open));
      const round = async (message) => {
        const worker = new Worker(url);
        await new Promise((resolve) => worker.on("message", (heard) => heard === message && resolve()));
        await worker.terminate();
      };
      await round("open");
      const before = readdirSync("/proc/self/fd").length;
      for (let i = 0; i < 5; i++) { await round("open"); await round("told"); }
      say(readdirSync("/proc/self/fd").length - before);
      const { spawnSync } = await import("node:child_process");
      say(spawnSync(process.execPath, ["--input-type=module", "-e", open]).status);`);
    expect(await program.heard()).toBe(0);
    expect(await program.heard()).toBe(3);
    await program.end();
  });
});

describe("many datagrams at once", () => {
  test.each(["127.0.0.1", "::"])("arrive each as it was, in order, from a socket bound to %s", async (bound) => {
    const listener = new Listener();
    const to = open("127.0.0.1", listener);
    const from = open(bound);
    const sizes = [1136, 1136, 1136, 40, 1136, 1, 1, 1, 700, 800, 800, 799, ...Array<number>(150).fill(900), 5];
    const sent = sizes.map((size, i) => Buffer.alloc(size, String.fromCharCode(33 + (i % 90)), "latin1"));
    expect(from.sendMany(sent, "127.0.0.1", to.port)).toBe(0);
    await listener.until(sent.length);
    expect(listener.told.map(({ text }) => text)).toEqual(sent.map((datagram) => datagram.toString("latin1")));
    expect(new Set(listener.told.map(({ port }) => port))).toEqual(new Set([from.port]));
  });

  test("to an address that is none are lost with its errno, and after close() with none", () => {
    const from = open("127.0.0.1");
    const two = [Buffer.from("a"), Buffer.from("b")];
    expect(from.sendMany(two, "nowhere", 9)).toBe(constants.errno.EINVAL);
    from.close();
    expect(from.sendMany(two, "127.0.0.1", 9)).toBe(0);
  });
});
