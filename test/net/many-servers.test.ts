// Two servers of one directory and their clients, on hosts of their own.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { etcdMissing } from "../helpers/etcd.ts";
import { onFreshHost, whyNoHosts } from "../helpers/host.ts";
import type { Program } from "../helpers/program.ts";

const script = join(import.meta.dirname, "../fixtures/hosts/many-servers.js");
const tmp = mkdtempSync(join(tmpdir(), "ptalk-hosts-"));
let host: Program | undefined;
afterEach(() => host?.kill());
afterAll(() => rmSync(tmp, { recursive: true, force: true }));

const why = whyNoHosts ?? etcdMissing ?? (spawnSync("nft", ["--version"]).error ? "nft(8) is missing" : null);

describe.skipIf(why)(`clients of two servers on four hosts${why ? ` (skipped: ${why})` : ""}`, () => {
  it("talk over both servers where no datagram passes, get what was left, and go on when one server is killed", async () => {
    host = onFreshHost(script, [], { TMPDIR: tmp });
    const overRelay = ["relay", "relay", true];
    expect(JSON.parse(await host.line())).toEqual({
      overBoth: { out: overRelay, back: overRelay },
      left: 0,
      kept: "mailbox",
      address: "10.1.0.3:5518",
      after: overRelay,
    });
    await host.ended;
  });
});
