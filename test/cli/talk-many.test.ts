// `ptalk talk` at a terminal where more are on than one is told of: Tab asks the server. A real pseudo-terminal.
import { afterAll, beforeAll, expect, it } from "vitest";
import { User } from "../helpers/cli.ts";
import { COMMAND } from "../helpers/command.js";
import { LocalServer, newKeys } from "../helpers/lookup-server.ts";
import { Pty } from "../helpers/pty.ts";

const user = new User();
let server: LocalServer;
beforeAll(async () => {
  server = await LocalServer.start({ watchLimit: 2 });
});
afterAll(async () => {
  await server.stop();
  user[Symbol.dispose]();
});

async function on(...names: readonly string[]): Promise<void> {
  for (const name of names) await (await server.client()).register(name, newKeys());
}

it("Tab completes names that it was never told of, and no further than all that there are", async () => {
  await on("bernard", "bernadette", "zoe");
  const known = Object.entries(user.env).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const env = { ...Object.fromEntries(known), LANG: "C.UTF-8" };
  const [file = "", ...args] = [...COMMAND, "--as", "alice", "--server", server.server.address];
  using alice = new Pty(file, args, { env });
  await alice.shows("4 are on");
  await on("carola"); // she hears nothing of it
  alice.type("ber\t");
  await alice.until((s) => s.cursor().row.trimEnd() === "> berna");
  alice.type("d\t");
  await alice.until((s) => s.cursor().row.startsWith("> bernadette "));
  alice.type("\x15/to CAR\t");
  await alice.until((s) => s.cursor().row.startsWith("> /to carola "));
  // More begin so than one answer holds: what its names have in common says nothing of the others.
  await on(...Array.from({ length: 101 }, (_, i) => `many${String(i).padStart(3, "0")}`));
  alice.type("\x15man\t");
  await alice.shows("many000  many001");
  expect(alice.cursor().row.trimEnd()).toBe("> man");
  alice.type("\x15\x04");
  expect(await alice.ended).toEqual({ exitCode: 0, signal: 0 });
});
