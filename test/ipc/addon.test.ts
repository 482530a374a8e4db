// The addon itself: it loads or says why not, and no arguments bring it down.
import { describe, expect, test } from "vitest";
import { NodeProgram } from "../helpers/node-program.ts";

const loader = JSON.stringify(new URL("../../dist/native.js", import.meta.url).href);

describe("the loader", () => {
  test("says what is missing and which command builds it", async () => {
    const program = new NodeProgram("", [], { env: { PTALK_ADDON: "/nowhere/ptalk.node" } });
    const { code, stderr } = await program.ended;
    expect(code).toBe(1);
    expect(stderr).toContain(`ptalk's addon for ${process.platform}-${process.arch} does not load`);
    expect(stderr).toMatch(/compile it with `node \/\S+\/scripts\/install\.js --build-from-source`/);
  });
});

describe("the functions", () => {
  test("throw or answer, whatever they are given", async () => {
    const program = new NodeProgram(`
      const { native } = await import(${loader});
      const odd = [undefined, null, NaN, "a/b", "", {}, [], () => {}, Symbol("s"), 1n, new ArrayBuffer(8), new Uint8Array(3), 2 ** 40, -1, -0.5];
      let seed = 7;
      const any = () => odd[(seed = (seed * 48271) % 2147483647) % odd.length];
      // These do what they are asked: block, or signal whoever has the number.
      const left = new Set(["semWait", "semTimedWait", "sigqueue", "setErrorClass"]);
      let thrown = 0;
      for (const [name, call] of Object.entries(native)) {
        if (typeof call !== "function" || left.has(name)) continue;
        for (let i = 0; i < 300; i++) {
          try { call(...Array.from({ length: i % 6 }, any)); } catch (error) { if (!(error instanceof Error)) throw error; thrown++; }
        }
      }
      native.setErrorClass(ipc.IpcError);
      say(thrown > 1000);`);
    expect(await program.heard()).toBe(true);
    expect(await program.end()).toMatchObject({ code: 0, signal: null });
  });

  test("are the same in every thread, each with its own handles", async () => {
    const program = new NodeProgram(`
      const { Worker } = await import("node:worker_threads");
      const { native } = await import(${loader});
      const worker = new Worker(\`
        const { native } = await import(${loader});
        let code;
        try { native.semClose(0); } catch (error) { code = error.message; }
        (await import("node:worker_threads")).parentPort.postMessage([Object.keys(native).length, code]);\`, { eval: true });
      ipc.Semaphore.create("/addon-" + process.pid).unlink();
      worker.on("message", ([count, code]) => say([count === Object.keys(native).length, /EINVAL|invalid/i.test(code)]));`);
    expect(await program.heard()).toEqual([true, true]);
    await program.end();
  });
});
