// Paths that do not take large datagrams, on hosts of their own: filters that swallow them, links with a small MTU, IPv6 at its minimum.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { onFreshHost, whyNoHosts } from "../helpers/host.ts";
import { nftMissing } from "../helpers/nft.ts";

const script = join(import.meta.dirname, "../fixtures/hosts/mtu.js");
const skipped = whyNoHosts ?? nftMissing;

describe.skipIf(skipped)(`messages and files cross${skipped ? ` (skipped: ${skipped})` : ""}`, () => {
  const homes: string[] = [];
  afterAll(() => {
    for (const home of homes) rmSync(home, { recursive: true, force: true });
  });

  it.each([
    ["a path that swallows more than 1,168 bytes of UDP payload", "4", "0", "1168"],
    ["a path that swallows more than 500 bytes", "4", "0", "500"],
    ["links with an MTU of 576, where the kernel refuses larger datagrams", "4", "576", "0"],
    ["IPv6 links with its least MTU, 1,280", "6", "1280", "0"],
  ])("%s", async (_what, ...args) => {
    const home = mkdtempSync(join(tmpdir(), "ptalk-mtu-"));
    homes.push(home);
    const host = onFreshHost(script, args, { TMPDIR: home });
    const next = async () => JSON.parse(await host.line());
    for (const length of [1, 800, 1060, 1080, 1100, 60_000]) expect(await next()).toEqual([length, 0, true]);
    // The short text comes right behind the long one, which does not fail.
    expect(await next()).toEqual([20_000, 5]);
    expect(await next()).toBe(true);
    await host.ended;
  });
});
