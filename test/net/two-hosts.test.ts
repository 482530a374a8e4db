// Over a network: TLS to the server with a certificate it made itself and the clients pinned, datagrams between hosts, loss.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { onFreshHost, whyNoHosts } from "../helpers/host.ts";
import type { Program } from "../helpers/program.ts";

const script = join(import.meta.dirname, "../fixtures/client/two-hosts.js");
const tmp = mkdtempSync(join(tmpdir(), "ptalk-hosts-"));
let host: Program | undefined;
afterEach(() => host?.kill());
afterAll(() => rmSync(tmp, { recursive: true, force: true }));

const noNft = spawnSync("nft", ["--version"]).error ? "nft(8) is missing" : null;

async function report(...args: string[]): Promise<unknown> {
  host = onFreshHost(script, args, { TMPDIR: tmp });
  const line = JSON.parse(await host.line());
  await host.ended;
  return line;
}

describe.skipIf(whyNoHosts)(`two hosts${whyNoHosts ? ` (skipped: ${whyNoHosts})` : ""}`, () => {
  it("talk over IPv4, and each lists its own people", async () => {
    expect(await report("4", "0", "20")).toEqual({
      addresses: ["10.77.0.1", "10.77.0.2"],
      received: [true, true],
      lists: [["alice"], ["bob"]],
    });
  });

  it("talk over IPv6", async () => {
    expect(await report("6", "0", "20")).toMatchObject({ addresses: ["fd77::1", "fd77::2"], received: [true, true] });
  });

  it.skipIf(noNft)(
    `lose 30 % of the datagrams each way and no message${noNft ? ` (skipped: ${noNft})` : ""}`,
    async () => {
      expect(await report("4", "30", "100")).toMatchObject({ received: [true, true] });
    },
  );
});
