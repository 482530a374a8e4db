// Clients whose network vanishes: no goodbye, no reset, only silence. On a host of its own, where packets may be dropped.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { onFreshHost, whyNoHosts } from "../helpers/host.ts";
import { freshStateDir } from "../helpers/lookup-server.ts";

const script = join(import.meta.dirname, "../fixtures/server/lost-network.js");
const state = freshStateDir();
afterAll(() => state.remove());
const why = whyNoHosts ?? (spawnSync("nft", ["--version"]).error ? "nft(8) is missing" : null);
const PROMISED_SECONDS = 30;

it.skipIf(why !== null)(
  `they are gone within ${PROMISED_SECONDS} s, with data under way and without${why ? ` (skipped: ${why})` : ""}`,
  async () => {
    const host = onFreshHost(script, [state.path]);
    const report = JSON.parse(await host.line());
    expect(report).toMatchObject({ replies: ["OK", "OK", "OK"], stopped: true });
    expect(report.seconds).toBeLessThan(PROMISED_SECONDS);
    await host.end();
  },
);
