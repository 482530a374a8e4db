// Signals between processes: what arrives, with what, in which order.
import { constants } from "node:os";
import { describe, expect, test } from "vitest";
import { type SignalInfo, sigaction, signalCounts, sigqueue } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";

/** Claims the signal, runs the action, and gives the first `count` deliveries. */
async function receive(signal: string, count: number, act: () => unknown): Promise<SignalInfo[]> {
  const infos: SignalInfo[] = [];
  let enough = () => {};
  const all = new Promise<void>((resolve) => {
    enough = resolve;
  });
  using _claim = sigaction(signal, (info) => {
    infos.push(info);
    if (infos.length === count) enough();
  });
  const keepAlive = setInterval(() => {}, 1000);
  await act();
  await all;
  clearInterval(keepAlive);
  return infos;
}

const uid = process.getuid?.() ?? -1;

describe("what a delivery says", () => {
  test("sigqueue: SI_QUEUE, the sender's pid and uid, the value", async () => {
    const sender = new NodeProgram(`
      process.stdin.once("data", () => ipc.sigqueue(${process.pid}, "SIGUSR2", 123456));
      say(process.pid);`);
    const pid = await sender.heard();
    const [info] = await receive("SIGUSR2", 1, () => sender.say("go"));
    expect(info).toEqual({ signal: "SIGUSR2", code: -1, pid, uid, value: 123456 });
    await sender.end();
  });

  test("kill: SI_USER, and no value", async () => {
    const [info] = await receive("SIGUSR2", 1, () => process.kill(process.pid, "SIGUSR2"));
    expect(info).toEqual({ signal: "SIGUSR2", code: 0, pid: process.pid, uid, value: 0 });
  });

  test.each([0, 1, -1, 2 ** 31 - 1, -(2 ** 31)])("the value %d arrives as it is", async (value) => {
    const [info] = await receive("SIGRTMIN+5", 1, () => sigqueue(process.pid, "SIGRTMIN+5", value));
    expect(info?.value).toBe(value);
  });

  test("SIGCHLD is EBUSY once Node watches child processes with it", async () => {
    const child = new NodeProgram("");
    // libuv has a handler of its own for SIGCHLD: claiming it would take the ends of child processes away from Node.
    expect(() => sigaction("SIGCHLD", () => {})).toThrow(/EBUSY.*SIGCHLD/);
    await child.end();
  });
});

test.skipIf(!process.allowedNodeEnvironmentFlags.has("--disable-sigusr1"))(
  "SIGUSR1 comes to a claim also where Node has blocked it (skipped before Node 22.14, which has no --disable-sigusr1)",
  async () => {
    const program = new NodeProgram('ipc.sigaction("SIGUSR1", ({ signal }) => say(signal)); say("ready");', [], {
      env: { NODE_OPTIONS: "--disable-sigusr1" },
    });
    expect(await program.heard()).toBe("ready");
    program.child.kill("SIGUSR1");
    expect(await program.heard()).toBe("SIGUSR1");
    await program.end();
  },
);

test("signalCounts counts each signal, with its last sender, also once the claim is disposed of", async () => {
  const signal = "SIGRTMIN+9";
  const countOf = () => signalCounts().find((each) => each.signal === signal);
  const before = countOf()?.count ?? 0;
  await receive(signal, 3, () => [1, 2, 3].map((value) => sigqueue(process.pid, signal, value)));
  expect(countOf()).toEqual({ signal, count: before + 3, lastPid: process.pid });
  using _ignored = sigaction(signal, "ignore");
  sigqueue(process.pid, signal);
  const sender = new NodeProgram(`
    process.stdin.once("data", () => ipc.sigqueue(${process.pid}, "SIGUSR2"));
    say(process.pid);`);
  const pid = await sender.heard();
  await receive("SIGUSR2", 1, () => sender.say("go"));
  expect(signalCounts().find((each) => each.signal === "SIGUSR2")?.lastPid).toBe(pid);
  expect(countOf()?.count).toBe(before + 3);
  await sender.end();
});

describe("realtime signals", () => {
  test("every one of SIGRTMIN+0 to SIGRTMAX can be claimed and sent, by its name", async () => {
    for (let n = 0; n <= 30; n++) {
      const signal = `SIGRTMIN+${n}`;
      const [info] = await receive(signal, 1, () => sigqueue(process.pid, signal, n));
      expect(info).toMatchObject({ signal, value: n });
    }
    const [last] = await receive("SIGRTMAX", 1, () => sigqueue(process.pid, "SIGRTMIN+30", 1));
    expect(last?.signal).toBe("SIGRTMAX");
    const [first] = await receive("SIGRTMIN", 1, () => sigqueue(process.pid, "SIGRTMAX-30", 1));
    expect(first?.signal).toBe("SIGRTMIN");
  });

  test("are queued: each arrives, with its value, in the order sent", async () => {
    const count = 5000;
    const sender = new NodeProgram(`
      process.stdin.once("data", () => {
        for (let i = 0; i < ${count}; i++) ipc.sigqueue(${process.pid}, "SIGRTMIN+4", i);
      });
      say("ready");`);
    await sender.heard();
    const infos = await receive("SIGRTMIN+4", count, () => sender.say("go"));
    expect(infos.map((info) => info.value)).toEqual(Array.from({ length: count }, (_, i) => i));
    await sender.end();
  });

  test("of several numbers, each keeps its own order", async () => {
    const seen: [string, number][] = [];
    using _a = sigaction("SIGRTMIN+6", (info) => seen.push([info.signal, info.value]));
    const infos = await receive("SIGRTMIN+7", 100, () => {
      for (let i = 0; i < 100; i++) {
        sigqueue(process.pid, "SIGRTMIN+6", i);
        sigqueue(process.pid, "SIGRTMIN+7", i);
      }
    });
    expect(infos.map((info) => info.value)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(seen.map(([, value]) => value)).toEqual(Array.from({ length: 100 }, (_, i) => i));
  });

  test("a burst while the loop is blocked is delivered whole", async () => {
    const infos = await receive("SIGRTMIN+8", 2000, () => {
      for (let i = 0; i < 2000; i++) sigqueue(process.pid, "SIGRTMIN+8", i);
    });
    expect(infos).toHaveLength(2000);
  });
});

test("a flood beyond the pipe while the loop is blocked is cut, counted, and told of", async () => {
  const program = new NodeProgram(`
    let seen = 0, last = -1, ordered = true;
    process.on("warning", ({ code, message }) => say([code, Number.parseInt(message) + seen, ordered]));
    ipc.sigaction("SIGRTMIN+1", ({ value }) => { seen++; ordered &&= value > last; last = value; });
    for (let i = 0; i < 50_000; i++) ipc.sigqueue(process.pid, "SIGRTMIN+1", i);
    setTimeout(() => ipc.sigqueue(process.pid, "SIGRTMIN+1", 50_000), 500);`);
  const [code, total, ordered] = (await program.heard()) as [string, number, boolean];
  expect([code, ordered]).toEqual(["PTALK_SIGNALS_LOST", true]);
  expect(total).toBeGreaterThan(6000);
  await program.end();
});

describe("sigqueue refuses", () => {
  test("a process that is not there: ESRCH", () => {
    expect(() => sigqueue(2 ** 22 + 7, "SIGUSR2", 0)).toThrow(
      expect.objectContaining({ code: "ESRCH", errno: 3, syscall: "sigqueue" }),
    );
  });

  test.each([0, -1, 1.5, Number.NaN, 2 ** 31])("pid %d: RangeError", (pid) => {
    expect(() => sigqueue(pid, "SIGUSR2", 0)).toThrow(RangeError);
  });

  test.each([0.5, 2 ** 31, -(2 ** 31) - 1, Number.NaN])("value %d: RangeError", (value) => {
    expect(() => sigqueue(process.pid, "SIGUSR2", value)).toThrow(RangeError);
  });

  test("values and pids of another type: TypeError", () => {
    expect(() => sigqueue(process.pid, "SIGUSR2", "1" as unknown as number)).toThrow(TypeError);
    expect(() => sigqueue("1" as unknown as number, "SIGUSR2", 1)).toThrow(TypeError);
    expect(() => sigqueue(process.pid, 12 as unknown as string, 1)).toThrow(TypeError);
  });

  test("and signal 0 only asks whether it could", () => {
    sigqueue(process.pid, 0);
    expect(() => sigqueue(2 ** 22 + 7, 0)).toThrow(expect.objectContaining({ code: "ESRCH" }));
  });
});

describe("names", () => {
  test.each(["", "INT", "sigint", "SIGNOPE", "SIGRTMIN-1", "SIGRTMAX+1", "SIGRTMIN+", "SIGRTMIN+1x", "constructor"])(
    "%j is no signal: TypeError",
    (name) => expect(() => sigaction(name, "ignore")).toThrow(TypeError),
  );
  test.each(["SIGRTMIN+31", "SIGRTMAX-31", "SIGRTMIN+99"])("%s does not exist: RangeError", (name) => {
    expect(() => sigaction(name, "ignore")).toThrow(RangeError);
  });
  test.each([2, null, undefined, {}, ["SIGINT"]])("%o is no name: TypeError", (name) => {
    expect(() => sigaction(name as string, "ignore")).toThrow(TypeError);
  });

  test("all of Node's names with a number are known", () => {
    for (const name of Object.keys(constants.signals)) {
      const busy = process.listenerCount(name) > 0;
      try {
        sigaction(name, "default")[Symbol.dispose]();
      } catch (error) {
        const refused = ["SIGKILL", "SIGSTOP", "SIGBUS", "SIGCHLD"].includes(name) || busy;
        if (!refused) throw error;
      }
    }
  });
});

describe("refused actions", () => {
  test.each(["SIGKILL", "SIGSTOP"])("%s cannot be caught: EINVAL", (signal) => {
    for (const action of ["ignore", () => {}] as const) {
      expect(() => sigaction(signal, action)).toThrow(
        expect.objectContaining({ code: "EINVAL", syscall: "sigaction" }),
      );
    }
  });
  test.each(["SIGSEGV", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP"])(
    "a callback on %s: EINVAL, with the reason",
    (signal) => {
      expect(() => sigaction(signal, () => {})).toThrow(/EINVAL.*a fault of the program/);
    },
  );
  test("SIGBUS, which guards mappings: EINVAL, with the reason", () => {
    expect(() => sigaction("SIGBUS", "ignore")).toThrow(/EINVAL.*truncated by others/);
  });
  test.each(["Ignore", "", undefined, null, 1, {}])("the action %o: TypeError", (action) => {
    expect(() => sigaction("SIGUSR2", action as "ignore")).toThrow(TypeError);
  });
});
