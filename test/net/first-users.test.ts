// The embedded default: nothing set up, no server, `ptalk NAME` works. On hosts of their own, since it is about the default port.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { onFreshHost, whyNoHosts } from "../helpers/host.ts";
import type { Program } from "../helpers/program.ts";

const script = join(import.meta.dirname, "../fixtures/client/first-users.js");
const tmp = mkdtempSync(join(tmpdir(), "ptalk-hosts-"));
let host: Program | undefined;
afterEach(() => host?.kill());
afterAll(() => rmSync(tmp, { recursive: true, force: true }));

describe.skipIf(whyNoHosts)(`on a host without a server${whyNoHosts ? ` (skipped: ${whyNoHosts})` : ""}`, () => {
  it.each([1, 2, 3])(
    "people who start at the same instant share one server, which goes with the last of them (%i)",
    async () => {
      const names = ["alice", "bob", "carol"];
      host = onFreshHost(script, names, { TMPDIR: tmp });
      const report = JSON.parse(await host.line());
      expect((await host.ended).stderr).toBe("");
      expect(report).toEqual({
        servers: ["127.0.0.1:5518"],
        primaries: expect.any(Number),
        all: names,
        delivered: true,
        codes: [0, 0, 0],
        left: { servers: 0, objects: [] },
      });
    },
  );
});
