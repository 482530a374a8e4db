// Queued signals with a value between Node and a program in another language, both ways.
import { constants } from "node:os";
import { describe, expect, test } from "vitest";
import { type SignalInfo, sigaction, sigqueue } from "../../lib/ipc/index.ts";
import { peers } from "../helpers/peers.ts";

/** sigqueue(3) and kill(2) as they show in si_code. */
const SI_QUEUE = -1;
const SI_USER = 0;
const ESRCH = 3;
/** glibc keeps 32 and 33 to itself. */
const SIGRTMIN = 34;

/** Collects what arrives; `next` gives them in order. */
function collector() {
  const arrived: SignalInfo[] = [];
  let wake = () => {};
  return {
    take: (info: SignalInfo) => {
      arrived.push(info);
      wake();
    },
    async next(): Promise<SignalInfo> {
      while (arrived.length === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return arrived.shift() as SignalInfo;
    },
  };
}

describe.each(peers())("$language and Node", ({ missing, start }) => {
  test.beforeEach(({ skip }) => {
    if (missing) skip(missing);
  });

  test.each([
    ["SIGRTMIN+4", SIGRTMIN + 4],
    ["SIGUSR2", constants.signals.SIGUSR2],
  ] as const)("%s arrives in Node with its sender and value", async (signal, number) => {
    const peer = start();
    const { take, next } = collector();
    using _claim = sigaction(signal, take);
    for (const value of [0, 1, -1, 2 ** 31 - 1, -(2 ** 31)]) {
      expect(await peer.ask(`sig queue ${process.pid} ${number} ${value}`)).toBe("ok");
      const uid = process.getuid?.();
      expect(await next()).toMatchObject({ signal, code: SI_QUEUE, pid: peer.pid, uid, value });
    }
    expect(await peer.ask(`sig kill ${process.pid} ${number}`)).toBe("ok");
    expect(await next()).toMatchObject({ signal, code: SI_USER, pid: peer.pid });
  });

  test("real-time signals that the other queued arrive all, in order", async () => {
    const peer = start();
    const { take, next } = collector();
    using _claim = sigaction("SIGRTMIN+5", take);
    const values = Array.from({ length: 300 }, (_, i) => i);
    for (const value of values) peer.say(`sig queue ${process.pid} ${SIGRTMIN + 5} ${value}`);
    const arrived: number[] = [];
    for (const _ of values) arrived.push((await next()).value);
    expect(arrived).toEqual(values);
    for (const _ of values) expect(await peer.line()).toBe("ok");
  });

  test("what Node queues arrives in the other with its sender and value", async () => {
    const peer = start();
    expect(await peer.ask(`sig block ${SIGRTMIN + 2}`)).toBe("ok");
    for (const value of [7, -(2 ** 31), 2 ** 31 - 1]) sigqueue(peer.pid, "SIGRTMIN+2", value);
    for (const value of [7, -(2 ** 31), 2 ** 31 - 1]) {
      const expected = [SIGRTMIN + 2, SI_QUEUE, process.pid, process.getuid?.(), value].join(" ");
      expect(await peer.ask(`sig take ${SIGRTMIN + 2}`)).toBe(expected);
    }
  });

  test("a signal to one that has gone is refused on both sides", async () => {
    const [gone, peer] = [start(), start()];
    const { pid } = gone;
    await gone.kill();
    expect(() => sigqueue(pid, "SIGRTMIN+1", 1)).toThrow(
      expect.objectContaining({ code: "ESRCH", errno: ESRCH, syscall: "sigqueue" }),
    );
    expect(await peer.ask(`sig queue ${pid} ${SIGRTMIN + 1} 1`)).toBe(`error ${ESRCH}`);
  });
});
