// What POSIX asserts of sigqueue, asked of ptalk's. See docs/CONFORMANCE.md.
import { describe, expect, test } from "vitest";
import { sigqueue } from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { canChangeUser } from "../helpers/privileges.ts";

/** A process that says what it gets. */
async function receiver(signals: string[], options = {}): Promise<NodeProgram> {
  const program = new NodeProgram(
    `for (const signal of ${JSON.stringify(signals)}) ipc.sigaction(signal, ({ signal, value }) => say([signal, value]));
     say("ready");`,
    [],
    options,
  );
  expect(await program.heard()).toBe("ready");
  return program;
}

describe("sigqueue", () => {
  test("1, 4, 8: the signal reaches that process with its value", async () => {
    const program = await receiver(["SIGRTMIN+1", "SIGTERM"]);
    for (const value of [0, 42, -1, 2 ** 31 - 1, -(2 ** 31)]) {
      expect(sigqueue(program.pid, "SIGRTMIN+1", value)).toBeUndefined();
      expect(await program.heard()).toEqual(["SIGRTMIN+1", value]);
    }
    sigqueue(program.pid, "SIGTERM");
    expect(await program.heard()).toEqual(["SIGTERM", 0]);
    await program.end();
  });

  test("2: signal 0 sends nothing and checks the process", async () => {
    const program = await receiver(["SIGRTMIN+1"]);
    expect(sigqueue(program.pid, 0, 1)).toBeUndefined();
    sigqueue(program.pid, "SIGRTMIN+1", 2);
    expect(await program.heard()).toEqual(["SIGRTMIN+1", 2]);
    await program.kill();
    expect(() => sigqueue(program.pid, 0)).toThrow(expect.objectContaining({ code: "ESRCH" }));
  });

  test.skipIf(!canChangeUser)("3, 12: EPERM for another user's process", async () => {
    const other = new NodeProgram(`
      process.setuid(65534);
      try { ipc.sigqueue(${process.pid}, "SIGRTMIN+1", 1); say("sent"); }
      catch (error) { say([error.name, error.code, error.errno, error.syscall]); }
    `);
    expect(await other.heard()).toEqual(["IpcError", "EPERM", 1, "sigqueue"]);
    await other.end();
  });

  test("5: of signals that do not queue at least one arrives", async () => {
    const program = await receiver(["SIGUSR2"]);
    for (let i = 0; i < 20; i++) sigqueue(program.pid, "SIGUSR2", 9);
    expect(await program.heard()).toEqual(["SIGUSR2", 9]);
    await program.end();
  });

  test("6: one sent to oneself is on its way when the call returns", async () => {
    const program = new NodeProgram(`
      const values = [];
      ipc.sigaction("SIGRTMIN+1", ({ value }) => values.push(value));
      for (let value = 0; value < 10; value++) ipc.sigqueue(process.pid, "SIGRTMIN+1", value);
      setImmediate(() => setImmediate(() => say(values)));
    `);
    expect(await program.heard()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    await program.end();
  });

  test("7: of several pending realtime signals the lowest is delivered first", async () => {
    const signals = ["SIGRTMIN+9", "SIGRTMIN+2", "SIGRTMIN+5", "SIGRTMIN+1"];
    const program = await receiver(signals);
    process.kill(program.pid, "SIGSTOP");
    for (const signal of signals) for (const value of [1, 2]) sigqueue(program.pid, signal, value);
    process.kill(program.pid, "SIGCONT");
    const arrived: unknown[] = [];
    for (let i = 0; i < 8; i++) arrived.push(await program.heard());
    const sorted = [1, 2, 5, 9].flatMap((n) => [1, 2].map((value) => [`SIGRTMIN+${n}`, value]));
    expect(arrived).toEqual(sorted);
    await program.end();
  });

  test("9: EAGAIN when the queue is full, and what was queued arrives", async () => {
    const program = await receiver(["SIGRTMIN+1"], { wrapper: ["prlimit", "--sigpending=256"] });
    process.kill(program.pid, "SIGSTOP");
    let sent = 0;
    const fill = () => {
      for (;;) {
        sigqueue(program.pid, "SIGRTMIN+1", sent);
        sent++;
      }
    };
    expect(fill).toThrow(expect.objectContaining({ name: "IpcError", code: "EAGAIN", errno: 11, syscall: "sigqueue" }));
    expect(sent).toBeGreaterThan(0);
    process.kill(program.pid, "SIGCONT");
    for (let value = 0; value < sent; value++) expect(await program.heard()).toEqual(["SIGRTMIN+1", value]);
    await program.end();
  });

  test("10: refuses what is no signal, no process and no value", () => {
    for (const signal of ["SIGNONE", "", 10, null, undefined]) {
      expect(() => sigqueue(process.pid, signal as "SIGUSR2")).toThrow(TypeError);
    }
    expect(() => sigqueue(process.pid, "SIGRTMIN+31")).toThrow(RangeError);
    for (const pid of [0, -1, 1.5, 2 ** 31, Number.NaN]) {
      expect(() => sigqueue(pid, "SIGRTMIN+1", 1)).toThrow(RangeError);
    }
    for (const value of [2 ** 31, -(2 ** 31) - 1, 0.5, Number.NaN]) {
      expect(() => sigqueue(process.pid, "SIGRTMIN+1", value)).toThrow(RangeError);
    }
    expect(() => sigqueue("1" as unknown as number, "SIGRTMIN+1")).toThrow(TypeError);
    expect(() => sigqueue(process.pid, "SIGRTMIN+1", "1" as unknown as number)).toThrow(TypeError);
  });

  test("11: ESRCH when there is no such process", async () => {
    const program = await receiver([]);
    await program.end();
    expect(() => sigqueue(program.pid, "SIGRTMIN+1", 1)).toThrow(
      expect.objectContaining({ name: "IpcError", code: "ESRCH", errno: 3, syscall: "sigqueue" }),
    );
  });
});
