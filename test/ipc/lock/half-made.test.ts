// A lock that its creator has not finished: whoever opens it waits a second for it, and no longer.
import {
  copyFileSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { ReadersWriterLock } from "../../../lib/ipc/index.ts";
import { NOT_READY_MS } from "../../../lib/ipc/open-or-create.ts";
import { NodeProgram } from "../../helpers/node-program.ts";
import { ObjectNames, segmentFile } from "../../helpers/object-names.ts";

const names = new ObjectNames("lock-half-made");
afterEach(() => names.sweep());

/** What the creator's open has made so far: a file without a size. */
function begin(): string {
  const name = names.fresh();
  writeFileSync(segmentFile(name), "", { mode: 0o600 });
  return name;
}

/** What the creator does then: the size, the contents and the semaphores of a lock. */
function finish(name: string): void {
  const model = names.fresh();
  ReadersWriterLock.create(model).close();
  const semaphores = readdirSync("/dev/shm").filter((file) => file.startsWith(`sem.${model.slice(1)}.`));
  for (const file of semaphores)
    copyFileSync(`/dev/shm/${file}`, `/dev/shm/${file.replace(model.slice(1), name.slice(1))}`);
  const fd = openSync(segmentFile(name), "r+");
  ftruncateSync(fd, statSync(segmentFile(model)).size);
  writeSync(fd, readFileSync(segmentFile(model)));
}

/** In a process of its own: opening blocks its thread. */
const opener = (name: string) =>
  new NodeProgram(`
    say("opening");
    const before = performance.now();
    try {
      const lock = ipc.ReadersWriterLock.open(${JSON.stringify(name)});
      say({ entered: await lock.withWrite(() => true) });
    } catch ({ code }) {
      say({ code, ms: performance.now() - before });
    }`);

describe("opening a lock whose object has no size yet", () => {
  it("waits for its creator, and takes part when it is made", async () => {
    const name = begin();
    const program = opener(name);
    await program.heard();
    await new Promise((resolve) => setTimeout(resolve, NOT_READY_MS / 4));
    finish(name);
    expect(await program.heard()).toEqual({ entered: true });
    await program.end();
  });

  it("is EAGAIN when its creator has died, once there was time to make it", async () => {
    const program = opener(begin());
    await program.heard();
    const { code, ms } = (await program.heard()) as { code: string; ms: number };
    expect(code).toBe("EAGAIN");
    expect(ms).toBeGreaterThanOrEqual(NOT_READY_MS);
    await program.end();
  });

  it("is no reason to keep the name: unlink takes it away", () => {
    const name = begin();
    ReadersWriterLock.unlink(name);
    expect(names.files()).toEqual([]);
  });
});
