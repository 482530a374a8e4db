// "The disk has it within 200 ms": a new name is synchronised by itself, without waiting for anything else to happen.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { compile, compiler, preloading } from "../helpers/compile.ts";
import { freshStateDir, newKeys, ServerProcess, until } from "../helpers/lookup-server.ts";

const SOURCE = join(import.meta.dirname, "../fixtures/preload.c");
const state = freshStateDir();
let library: ReturnType<typeof compile> | undefined;
let server: ServerProcess | undefined;
beforeAll(() => {
  if (compiler) library = compile(SOURCE, { library: true });
});
afterAll(async () => {
  await server?.stop();
  library?.remove();
  state.remove();
});

describe.skipIf(compiler === null)("a name that is new (needs a C compiler)", () => {
  it("is synchronised by itself, and the next one again", async () => {
    const log = join(state.path, "synced");
    const syncs = () =>
      existsSync(log)
        ? readFileSync(log, "utf8")
            .split("\n")
            .filter((line) => /server-names$/.test(line))
        : [];
    const env = { ...preloading(library), SYNC_LOG: log };
    server = await ServerProcess.start(["--workers", "1", "--state-dir", join(state.path, "server")], env);
    const before = syncs().length;
    for (const name of ["ann", "bob", "cat"]) {
      const client = await server.client();
      expect(await client.register(name, newKeys())).toBe("OK");
      client.close();
    }
    await until("the names to be on the disk", () => syncs().length > before);
    const after = syncs().length;
    const again = await server.client();
    expect(await again.register("dan", newKeys())).toBe("OK");
    await until("the next one to be on the disk", () => syncs().length > after);
  });
});
