// What the server that a client starts in the background keeps of that client: nothing. On hosts of their own.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { onFreshHost, whyNoHosts } from "../helpers/host.ts";
import type { Program } from "../helpers/program.ts";

const tmp = mkdtempSync(join(tmpdir(), "ptalk-background-"));
let host: Program | undefined;
afterEach(() => host?.kill());
afterAll(() => rmSync(tmp, { recursive: true, force: true }));

describe.skipIf(whyNoHosts)(`the background server${whyNoHosts ? ` (skipped: ${whyNoHosts})` : ""}`, () => {
  it("holds no lock, no pipe, no folder, no session and no service of the client that started it", async () => {
    host = onFreshHost(join(import.meta.dirname, "../fixtures/client/starter.js"), [tmp]);
    const { free, servers } = JSON.parse(await host.line());
    expect(free).toBe(true); // alice's lock, and her reader has seen the end of her output
    expect(servers.length).toBeGreaterThan(1); // a primary and workers
    for (const server of servers) {
      expect(server).toEqual({ cwd: "/", umask: "0022", service: [], ownSession: true, starters: 0 });
    }
    expect((await host.ended).stderr).toBe("");
  });
});
