// What becomes of a command when its output does not: the reader has gone, the disk is full. And nothing that a server says
// reaches the terminal as it is. Real processes, a real server, and one that lies.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { User } from "../helpers/cli.ts";
import { COMMAND } from "../helpers/command.js";
import { Program } from "../helpers/program.ts";
import { Serving } from "../helpers/serving.ts";

let server: Serving;
let alice: User;
let bob: User;

beforeAll(async () => {
  server = await Serving.start();
  alice = new User({ PTALK_SERVER: server.address, PTALK_NAME: "alice" });
  bob = new User({ PTALK_SERVER: server.address, PTALK_NAME: "bob" });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  for (const user of [alice, bob]) user[Symbol.dispose]();
});

const QUOTED = COMMAND.map((word) => `"${word}"`).join(" ");

/** Runs a line of bash in which `ptalk` is the command. */
async function bash(user: User, line: string): Promise<{ stdout: string; stderr: string }> {
  const script = `ptalk() { ${QUOTED} "$@"; }; ${line}`;
  const child = spawn("bash", ["-c", script], { env: user.env, stdio: ["ignore", "pipe", "pipe"] });
  const watchdog = setTimeout(() => child.kill("SIGKILL"), 60_000);
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  await once(child, "close");
  clearTimeout(watchdog);
  return { stdout, stderr };
}

const withFullDisk = (user: User, command: string): Program =>
  new Program("bash", ["-c", `exec ${QUOTED} ${command} >/dev/full`], { env: user.env });

/** bob, who prints what comes. */
async function receiver(): Promise<AsyncDisposable & { line(): Promise<string> }> {
  const program = bob.start(["recv", "--json"]);
  await program.line();
  return {
    line: () => program.line(),
    [Symbol.asyncDispose]: async () => void (await program.kill()),
  };
}

it("the licences end quietly when their reader goes, and with 70 when the disk is full", async () => {
  const { stdout, stderr } = await bash(
    alice,
    "ptalk --licences | head -1; echo $PIPESTATUS; ptalk --licences >/dev/full; echo $?",
  );
  expect({ stdout, stderr }).toEqual({ stdout: "MIT License\n0\n70\n", stderr: "" });
});

describe("ptalk send, whose reader has gone, ends as the message does", () => {
  it.each(["", "--json"])("delivered: 0 (%j)", async (json) => {
    await using inbox = await receiver();
    using stranger = new User({ PTALK_SERVER: server.address, PTALK_NAME: `new${json}` });
    const { stdout, stderr } = await bash(stranger, `ptalk send ${json} bob hi | true; echo "\${PIPESTATUS[0]}"`);
    const met = json === "" ? /^ptalk: first contact with bob: .*\n$/ : /^$/;
    expect({ stdout, stderr }).toEqual({ stdout: "0\n", stderr: expect.stringMatching(met) });
    expect(JSON.parse(await inbox.line())).toMatchObject({ type: "message", text: "hi" });
  });

  it("to nobody: 67", async () => {
    const { stdout } = await bash(alice, `ptalk send --json nobody hi | true; echo "\${PIPESTATUS[0]}"`);
    expect(stdout).toBe("67\n");
  });

  it("not confirmed in time: 75", async () => {
    const inbox = bob.start(["recv", "--json"]);
    await inbox.line();
    inbox.child.kill("SIGSTOP");
    const { stdout } = await bash(alice, `ptalk send --json --timeout 1 bob hi | true; echo "\${PIPESTATUS[0]}"`);
    expect(stdout).toBe("75\n");
    await inbox.kill();
  });
});

describe("an output that cannot be written is told once", () => {
  const told = "ptalk: cannot write: ENOSPC\n";

  it.each(["all", "list --json", "list", "--help", "send --help", "key", "doctor --json", "ipc"])(
    "ptalk %s ends with 70",
    async (command) => {
      const { stdout, stderr } = await bash(alice, `ptalk ${command} >/dev/full; echo $?`);
      expect(stdout).toBe("70\n");
      expect(stderr).toMatch(/^[^\n]*cannot write: ENOSPC[^\n]*\n$/);
    },
  );

  it("as JSON where JSON is wanted", async () => {
    const { stderr } = await bash(alice, "ptalk all --json >/dev/full");
    expect(JSON.parse(stderr)).toEqual({ type: "error", code: "internal", message: "cannot write: ENOSPC" });
  });

  it("ptalk send has delivered, and says so by its status", async () => {
    await using inbox = await receiver();
    const { stdout, stderr } = await bash(alice, "ptalk send bob hi >/dev/full; echo $?");
    expect(stdout).toBe("0\n");
    expect(stderr.replace(/^.*first contact.*\n/, "")).toBe(told);
    expect(JSON.parse(await inbox.line())).toMatchObject({ text: "hi" });
  });

  it.each(["recv", "talk"])("ptalk %s leaves in order", async (command) => {
    const { code, stderr } = await withFullDisk(bob, `${command} --json`).ended;
    expect(code).toBe(70);
    expect(JSON.parse(stderr)).toMatchObject({ message: "cannot write: ENOSPC" });
    expect((await alice.run(["lookup", "bob"])).code).toBe(67);
  });

  it("ptalk recv does not confirm what it could not print", async () => {
    const inbox = new Program("bash", ["-c", `exec ${QUOTED} recv >/dev/full`], {
      env: bob.env,
    });
    const code = async () => (await alice.run(["send", "bob", "hi", "--timeout", "2"])).code;
    let outcome = await code();
    while (outcome === 67) outcome = await code(); // not registered yet
    expect(outcome).toBe(75);
    expect(await inbox.ended).toMatchObject({ code: 70, stderr: expect.stringContaining(told) });
  });

  it("ptalk talk goes on as long as there is nothing to print", async () => {
    await using inbox = await receiver();
    const { stdout } = await bash(alice, "echo 'bob hi' | ptalk talk >/dev/full; echo $?");
    expect(stdout).toBe("0\n");
    expect(JSON.parse(await inbox.line())).toMatchObject({ text: "hi" });
  });
});

describe("what a server says", () => {
  it.each([[["all"]], [["lookup", "bob"]], [["send", "bob", "hi"]], [["talk"]]])(
    "is shown, not obeyed: %j",
    async (args) => {
      const liar = createServer((socket) => {
        socket.on("error", () => {}).on("data", () => socket.write("-ERR \u001b]0;owned\u0007\u009b2J\u202e\r\n"));
      }).listen(0, "127.0.0.1");
      await once(liar, "listening");
      const { port } = liar.address() as AddressInfo;
      const { stdout, stderr } = await alice.run([...args, "--server", `127.0.0.1:${port}`]);
      liar.close();
      expect(stderr).toContain("^[]0;owned^G<U+009B>2J<U+202E>");
      for (const control of ["\u001b", "\u0007", "\u009b", "\u202e"]) expect(stdout + stderr).not.toContain(control);
    },
  );
});
