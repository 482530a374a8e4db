// The embedded default: nothing set up, no server, `ptalk NAME` works. On hosts of their own, since it is about the default port.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { onFreshHost, whyNoHosts } from "../helpers/host.ts";
import type { Program } from "../helpers/program.ts";
import { times } from "../helpers/volume.ts";

const script = join(import.meta.dirname, "../fixtures/client/first-users.js");
const restarts = join(import.meta.dirname, "../fixtures/client/restarts.js");
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

  // A little later each time, over the third of a second in which a server notices that all have gone, and leaves.
  it.each([
    ["whoever comes after the last one has gone", []],
    ["whoever comes while another leaves", ["pairs"]],
  ])("%s has a server, the old one or the next", async (_, pairs) => {
    const visits = times(4);
    const stepMs = 320 / visits;
    host = onFreshHost(restarts, [String(stepMs), String(visits), ...pairs], userOf("restarts"));
    for (let i = 0; i < 1 + visits * (1 + pairs.length); i++) expect(await host.line()).toBe("0 registered exit");
    expect((await host.ended).stderr).toBe("");
  });

  it("a server that is configured for others, with TLS, does not keep it from working", async () => {
    const env = { ...userOf("tls"), PTALK_TLS: "1", PTALK_LISTEN: "127.0.0.1:1", PTALK_CAPACITY: "1" };
    mkdirSync(join(env.XDG_CONFIG_HOME, "ptalk"), { recursive: true });
    writeFileSync(join(env.XDG_CONFIG_HOME, "ptalk/config.toml"), "[serve]\ntls = true\ncapacity = 2\n");
    host = onFreshHost(restarts, ["0", "0"], env);
    expect(await host.line()).toBe("0 registered exit");
  });

  it("the server's log is in the client's --state-dir, and the server keeps nothing else", async () => {
    const env = { ...userOf("dir"), PTALK_STATE_DIR: join(tmp, "dir/elsewhere") };
    host = onFreshHost(restarts, ["0", "0"], env);
    expect(await host.line()).toBe("0 registered exit");
    expect(readdirSync(env.PTALK_STATE_DIR).sort()).toEqual(["key", "known_directories", "serve.log"]);
    expect(existsSync(env.XDG_STATE_HOME)).toBe(false);
  });
});

function userOf(name: string) {
  const home = join(tmp, name);
  return { HOME: home, XDG_STATE_HOME: join(home, "state"), XDG_CONFIG_HOME: join(home, "config"), PTALK_SERVER: "" };
}
