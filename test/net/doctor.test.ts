// doctor on hosts of different networks: what it says of UDP, the NAT, the relay and the paths to a user.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { onFreshHost, whyNoHosts } from "../helpers/host.ts";
import type { Program } from "../helpers/program.ts";

const script = join(import.meta.dirname, "../fixtures/hosts/doctor.js");
const tmp = mkdtempSync(join(tmpdir(), "ptalk-hosts-"));
let host: Program | undefined;
afterEach(() => host?.kill());
afterAll(() => rmSync(tmp, { recursive: true, force: true }));

const why = whyNoHosts ?? (spawnSync("nft", ["--version"]).error ? "nft(8) is missing" : null);
const some = (...patterns: RegExp[]) => expect.arrayContaining(patterns.map((one) => expect.stringMatching(one)));

describe.skipIf(why)(`ptalk doctor${why ? ` (skipped: ${why})` : ""}`, () => {
  it("names the NAT, the firewall, the relay, and each path to a user", async () => {
    host = onFreshHost(script, [], { TMPDIR: tmp });
    const said = JSON.parse(await host.line());
    expect(said.open).toEqual(
      some(
        /^ok UDP beyond: no NAT: the server sees 10\.1\.0\.2:/,
        /^ok UDP filter: none: others reach this host unasked$/,
        /^ok relay: /,
        /^ok peer: bob on open/,
        /^ok path 10\.1\.0\.2:\d+: answers/,
      ),
    );
    expect(said.toNat).toEqual(
      some(
        /^ok peer: eve .*registered at 10\.1\.0\.4:\d+ \(observed\), 192\.168\.1\.2:\d+ \(host\)/,
        /^warn path 10\.1\.0\.4:\d+: no answer/,
      ),
    );
    expect(said.blocked).toEqual(
      some(
        /^warn UDP beyond: a firewall of this host forbids sending UDP$/,
        /^ok relay: /,
        /^warn path 10\.1\.0\.2:\d+: no answer/,
      ),
    );
    expect(said.nat).toEqual(
      some(
        /^ok UDP beyond: a NAT: the server sees 10\.1\.0\.4:/,
        /^ok UDP filter: by address and port: /,
        /^warn relay: turned off here$/,
        /^ok path 10\.1\.0\.2:\d+: answers/,
      ),
    );
    expect(said.nobody).toEqual(some(/^fail peer: nobody is on as nobody$/));
    await host.ended;
  });
});
