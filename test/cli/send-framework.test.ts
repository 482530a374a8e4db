// The commands with their options before them: `ptalk --server HOST:PORT send bob hello` takes another way through the program than
// `ptalk send bob hello` does (bin/ptalk.js), and has to end in the same.
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { User } from "../helpers/cli.ts";
import type { Program } from "../helpers/program.ts";
import { Serving } from "../helpers/serving.ts";

let server: Serving;
let alice: User;
let bob: User;
const running: Program[] = [];
beforeAll(async () => {
  server = await Serving.start();
  alice = new User();
  bob = new User();
});
afterEach(async () => {
  for (const program of running.splice(0)) await program.kill();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  for (const user of [alice, bob]) user[Symbol.dispose]();
});

async function receiver(): Promise<Program> {
  const program = bob.start(["--server", server.address, "--json", "recv", "--as", "bob"]);
  running.push(program);
  expect(JSON.parse(await program.line())).toMatchObject({ type: "registered", name: "bob" });
  return program;
}

describe("options before the command", () => {
  it("send delivers, and says so", async () => {
    const inbox = await receiver();
    using carol = new User(); // who has not met bob
    const sent = await carol.run(["--server", server.address, "send", "--as", "carol", "bob", "build", "done"]);
    expect(sent).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(
        /^ptalk: first contact with bob: the key is SHA256:\S+ \(to compare: ptalk key verify bob\)\n$/,
      ),
      stdout: expect.stringMatching(/^delivered to bob \([\d.]+ m?s\)\n$/),
    });
    expect(JSON.parse(await inbox.line())).toMatchObject({ type: "message", from: "carol", text: "build done" });
  });

  it("send takes its text from stdin, and tells JSON", async () => {
    const inbox = await receiver();
    const args = ["--json", "--server", server.address, "send", "--as", "alice", "--timeout", "20", "bob"];
    const { code, stdout } = await alice.run(args, { input: "from a pipe\n" });
    const types = stdout
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { type: string }).type);
    expect({ code, types }).toEqual({ code: 0, types: ["sent", "delivered"] });
    expect(JSON.parse(await inbox.line())).toMatchObject({
      type: "message",
      text: expect.stringMatching(/^from a pipe/),
    });
  });

  it.each([
    [67, ["send", "--as", "alice", "nobody", "hello"], /no user "nobody" is on/],
    [64, ["send", "--as", "alice", "--timeout", "soon", "bob", "hello"], /--timeout/],
    [64, ["send"], /names/],
    [65, ["send", "--as", "alice", "no/name", "hello"], /not a valid name/],
  ])("send ends with %d for %j, and says why", async (status, args, reason) => {
    const { code, stdout, stderr } = await alice.run(["--server", server.address, ...args]);
    expect({ code, stdout, stderr }).toEqual({ code: status, stdout: "", stderr: expect.stringMatching(reason) });
  });

  it("lookup and all print what the server knows", async () => {
    await receiver();
    const lookup = await alice.run(["--server", server.address, "--json", "lookup", "bob"]);
    expect(lookup).toMatchObject({ code: 0, stderr: "" });
    expect(JSON.parse(lookup.stdout)).toMatchObject({ name: "bob" });
    const all = await alice.run(["--json", "--server", server.address, "all"]);
    expect(JSON.parse(all.stdout)).toMatchObject([{ name: "bob" }]);
  });
});
