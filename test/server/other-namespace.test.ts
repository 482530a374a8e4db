// A server in a pid namespace of its own, as in a container: who signals it from outside has no number there.

import { readFileSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { User } from "../helpers/cli.ts";
import { COMMAND } from "../helpers/command.js";
import { whyNoHosts } from "../helpers/host.ts";
import { until } from "../helpers/lookup-server.ts";
import { childrenOf } from "../helpers/processes.ts";
import { Program } from "../helpers/program.ts";

const namespaces = ["-p", "-m", "--fork", "--kill-child", "--mount-proc", ...(process.getuid?.() === 0 ? [] : ["-r"])];

const running: Program[] = [];
afterEach(async () => {
  for (const program of running.splice(0)) await program.kill();
});

function inNamespace(user: User, command: readonly string[]): Program {
  const program = new Program("unshare", [...namespaces, ...command], { env: user.env });
  running.push(program);
  return program;
}

describe.skipIf(whyNoHosts !== null)(`in a pid namespace${whyNoHosts ? ` (${whyNoHosts})` : ""}`, () => {
  it("SIGINT from outside is answered with the question, and no number is made up", async () => {
    using user = new User();
    const serve = ["serve", "--listen", "127.0.0.1:0", "--workers", "1"];
    const program = inNamespace(user, [...COMMAND, ...serve]);
    expect(await program.line()).toMatch(/serving on/);
    const [server = 0] = childrenOf(program.pid);
    expect(readFileSync(`/proc/${server}/cmdline`, "latin1")).toContain("serve");
    let said = "";
    program.child.stderr?.on("data", (text) => {
      said += text;
    });
    process.kill(server, "SIGINT");
    await until("the question", () => /Shut down\?/.test(said));
    expect(said).toMatch(/^0 clients are connected\. Shut down\? \[y\/N\]$/m);
    expect(said).not.toMatch(/pid/);
    process.kill(server, "SIGTERM");
    expect((await program.ended).code).toBe(0);
  });

  it("SIGINT from inside names who sent it", async () => {
    using user = new User();
    const script = `"$0" "$@" serve --listen 127.0.0.1:0 --workers 1 & server=$!; read go; kill -INT $server; echo "sent by $$"; wait $server`;
    const program = inNamespace(user, ["sh", "-c", script, ...COMMAND]);
    expect(await program.line()).toMatch(/serving on/);
    let said = "";
    program.child.stderr?.on("data", (text) => {
      said += text;
    });
    program.say("go");
    await until("the question", () => /Shut down\?/.test(said));
    expect(said).toMatch(/^SIGINT from pid 1 \(uid 0\)\. 0 clients are connected\. Shut down\? \[y\/N\]$/m);
  });
});
