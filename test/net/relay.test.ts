// The relay between real hosts: where UDP is blocked, and through a forwarder.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { onFreshHost, whyNoHosts } from "../helpers/host.ts";
import type { Program } from "../helpers/program.ts";

const script = join(import.meta.dirname, "../fixtures/hosts/relay.js");
const tmp = mkdtempSync(join(tmpdir(), "ptalk-hosts-"));
let host: Program | undefined;
afterEach(() => host?.kill());
afterAll(() => rmSync(tmp, { recursive: true, force: true }));

const why = whyNoHosts ?? (spawnSync("nft", ["--version"]).error ? "nft(8) is missing" : null);

describe.skipIf(why)(`hosts that no datagram reaches${why ? ` (skipped: ${why})` : ""}`, () => {
  it("talk over the relay, one-shot and in conversation, directly as soon as they can, and through a forwarder", async () => {
    host = onFreshHost(script, [], { TMPDIR: tmp });
    const overRelay = ["relay", "relay", true];
    expect(JSON.parse(await host.line())).toEqual({
      blocked: {
        out: overRelay,
        back: overRelay,
        send: [0, 0],
        refused: 75,
        path: { type: "path", name: "bob", via: "relay", address: null, port: null },
      },
      direct: ["direct", "direct", true],
      relayed: overRelay,
      forwarded: { out: overRelay, back: overRelay, send: [0, 0] },
    });
    await host.ended;
  });
});
