// What systemd does for a service of Type=notify and with a socket unit, done by hand.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { SERVICE_SOCKET } from "../../lib/base/service.ts";
import { SERVICE_USER } from "../../lib/base/users.ts";
import { COMMAND } from "../helpers/command.js";
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
state, abstract, activate, *command = sys.argv[1:]
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = "@ptalk-test-%d" % os.getpid() if abstract == "1" else state + "/notify"
notify.bind("\\0" + name[1:] if abstract == "1" else name)
listener = socket.socket()
listener.bind(("127.0.0.1", 0)); listener.listen()
pid = os.fork()
if pid == 0:
    os.environ["NOTIFY_SOCKET"] = name
    args = [*command, "serve", "--workers", "1", "--state-dir", state]
    if activate == "1":
        os.dup2(listener.fileno(), 3); os.set_inheritable(3, True)
        os.environ["LISTEN_PID"] = str(os.getpid()); os.environ["LISTEN_FDS"] = "1"
    else:
        args += ["--listen", "127.0.0.1:0"]
    os.execv(args[0], args)
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
  const args = ["-c", SCRIPT, state.path, abstract, activate, ...COMMAND];
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

/** The settings of a unit file, those of all sections. */
function unit(file: string): string[] {
  return readFileSync(join("contrib", file), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !/^[#;[]/.test(line));
}

it("a socket that is taken again and again stays, and its path with it", () => {
  for (const file of ["ptalk.socket", "ptalk-port.socket"]) {
    expect(unit(file)).toEqual(expect.arrayContaining(["TriggerLimitIntervalSec=0", "Service=ptalk.service"]));
  }
  const service = unit("ptalk.service");
  for (const setting of ["RuntimeDirectory", "PrivateUsers", "DynamicUser", "PrivateNetwork"]) {
    expect(service.filter((line) => line.startsWith(`${setting}=`))).toEqual([]);
  }
});

it("the service's socket is everybody's, apart from the port, and its server runs as a user that others know", () => {
  const streams = (file: string) => unit(file).filter((line) => line.startsWith("Listen"));
  expect(streams("ptalk.socket")).toEqual([`ListenStream=${SERVICE_SOCKET}`]);
  expect(unit("ptalk.socket")).toContain("SocketMode=0666");
  expect(streams("ptalk-port.socket")).toEqual(["ListenStream=127.0.0.1:5518"]);
  expect(unit("ptalk.service")).toEqual(
    expect.arrayContaining([`User=${SERVICE_USER}`, "Sockets=ptalk.socket ptalk-port.socket", "PrivateIPC=no"]),
  );
  expect(unit("ptalk.sysusers").join()).toMatch(new RegExp(`^u ${SERVICE_USER} `));
});

it.skipIf(spawnSync("systemd-analyze", ["--version"]).status !== 0)("the unit files are valid", () => {
  const files = ["ptalk.service", "ptalk.socket", "ptalk-port.socket"].map((file) => join("contrib", file));
  const { stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", ...files], { encoding: "utf8" });
  expect(stderr).not.toMatch(/Unknown|Failed to parse|Invalid/);
});
