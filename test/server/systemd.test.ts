// What systemd does for a service of Type=notify and with a socket unit, done by hand.
import { spawnSync } from "node:child_process";
import { afterEach, beforeEach, expect, it } from "vitest";
import { python } from "../helpers/compile.ts";
import { Client, freshStateDir, within } from "../helpers/lookup-server.ts";
import { Program } from "../helpers/program.ts";

const interpreter = python("socket", "os");
let state: ReturnType<typeof freshStateDir>;
beforeEach(() => {
  state = freshStateDir();
});
afterEach(() => state.remove());

/** Opens the notify socket and, if asked, the listening one as descriptor 3; then becomes `ptalk serve` in a child. */
const SCRIPT = `
import os, socket, sys
node, program, state, abstract, activate = sys.argv[1:6]
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = "@ptalk-test-%d" % os.getpid() if abstract == "1" else state + "/notify"
notify.bind("\\0" + name[1:] if abstract == "1" else name)
listener = socket.socket()
listener.bind(("127.0.0.1", 0)); listener.listen()
pid = os.fork()
if pid == 0:
    os.environ["NOTIFY_SOCKET"] = name
    args = [node, program, "serve", "--workers", "1", "--state-dir", state]
    if activate == "1":
        os.dup2(listener.fileno(), 3); os.set_inheritable(3, True)
        os.environ["LISTEN_PID"] = str(os.getpid()); os.environ["LISTEN_FDS"] = "1"
    else:
        args += ["--listen", "127.0.0.1:0"]
    os.execv(node, args)
print("port", listener.getsockname()[1], flush=True)
print(notify.recv(4096).decode(), flush=True)
sys.stdin.readline()
os.kill(pid, 15)
print(notify.recv(4096).decode(), flush=True)
print("status", os.waitpid(pid, 0)[1], flush=True)
`;

it.skipIf(interpreter === null).each([
  ["a path", "0", "0"],
  ["an abstract name, and a socket handed over", "1", "1"],
])("tells %s that it is ready, and that it stops (skipped without Python)", async (_what, abstract, activate) => {
  const args = ["-c", SCRIPT, process.execPath, "bin/ptalk.js", state.path, abstract, activate];
  const program = new Program(interpreter as string, args);
  const port = Number((await program.line()).split(" ")[1]);
  const lines: string[] = [];
  while (!lines.includes("READY=1")) lines.push(await program.line());
  const listening = Number(/serving on \S+:(\d+)/.exec(lines.join("\n"))?.[1]);
  if (activate === "1") expect(listening).toBe(port);
  const client = await Client.connect(listening);
  expect(await client.ask("PING")).toBe("PONG");
  client.close();
  expect(await program.ask("stop")).toBe("STOPPING=1");
  expect(await program.line()).toBe("status 0");
  await within("the end", program.end());
});

it.skipIf(spawnSync("systemd-analyze", ["--version"]).status !== 0)("the unit file is valid", () => {
  const { stderr } = spawnSync("systemd-analyze", ["verify", "contrib/ptalk.service"], { encoding: "utf8" });
  expect(stderr).not.toContain("Unknown");
});
