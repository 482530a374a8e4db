// Networks between which only an opened way leads: the table of npm run test:net, for a few of them.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { onFreshHost, whyNoHosts } from "../helpers/host.ts";
import type { Program } from "../helpers/program.ts";

const script = join(import.meta.dirname, "../fixtures/hosts/table.js");
const tmp = mkdtempSync(join(tmpdir(), "ptalk-hosts-"));
let host: Program | undefined;
afterEach(() => host?.kill());
afterAll(() => rmSync(tmp, { recursive: true, force: true }));

const why = whyNoHosts ?? (spawnSync("nft", ["--version"]).error ? "nft(8) is missing" : null);

describe.skipIf(why)(`an open host, a NAT and a stateful firewall${why ? ` (skipped: ${why})` : ""}`, () => {
  it("talk directly with each other, also when both are behind one; each one-shot message arrives", async () => {
    host = onFreshHost(script, ["open", "eim", "firewall"], { TMPDIR: tmp });
    await host.line(); // the head
    for (let rows = 0; rows < 27; rows++) {
      const [from, to, what, expected, path] = (await host.line()).split(/\s+/);
      // On a machine that is busy with other tests the relay may be quicker for the very first message.
      const isRight = path === expected || (what === "one-shot" && path === "relay");
      expect({ from, to, what, path, isRight }).toEqual({ from, to, what, path, isRight: true });
      expect(expected).toBe("direct");
    }
    await host.line();
    await host.ended;
  });
});
