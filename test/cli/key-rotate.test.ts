// A key that is replaced, as servers and partners meet it.
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { User } from "../helpers/cli.ts";
import { freshStateDir, ServerProcess } from "../helpers/lookup-server.ts";
import type { Program } from "../helpers/program.ts";

const folder = freshStateDir();
let server: ServerProcess;
const users: User[] = [];
const running: Program[] = [];
let count = 0;

beforeAll(async () => {
  server = await ServerProcess.start(["--workers", "2", "--state-dir", folder.path]);
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((program) => program.kill()));
});
afterAll(async () => {
  await server.stop();
  folder.remove();
  for (const user of users) user[Symbol.dispose]();
});

/** A user of a name that no other test has. */
function newUser(role: string): { user: User; name: string } {
  const name = `${role}${++count}`;
  const user = new User({ PTALK_SERVER: server.address, PTALK_NAME: name });
  users.push(user);
  return { user, name };
}

async function receive(user: User): Promise<Program> {
  const program = user.start(["recv", "--json"]);
  running.push(program);
  await program.line();
  return program;
}

/** @returns what it wrote to stderr */
const stop = async (program: Program): Promise<string> => {
  program.child.kill("SIGTERM");
  return (await program.ended).stderr;
};
const fingerprint = async (user: User): Promise<string> =>
  JSON.parse((await user.run(["key", "--json"])).stdout).fingerprint;
const rotate = async (user: User): Promise<void> => {
  expect(await user.run(["key", "rotate"])).toMatchObject({ code: 0 });
};
const changed = (name: string): RegExp =>
  new RegExp(
    `^ptalk: the key of "${name}" has changed to SHA256:\\S+: the one before has signed it, and it is remembered\\n$`,
  );

it("keeps the name, and partners follow with one line, whoever writes first", async () => {
  const [{ user: alice, name: a }, { user: bob, name: b }] = [newUser("alice"), newUser("bob")];
  let inbox = await receive(bob);
  expect(await alice.run(["send", b, "hi"])).toMatchObject({ code: 0 });
  expect(await alice.run(["key", "verify", b])).toMatchObject({ code: 0 });
  await stop(inbox);
  const before = await fingerprint(bob);
  const said = JSON.parse((await bob.run(["key", "rotate", "--json"])).stdout);
  expect(said).toEqual({
    fingerprint: await fingerprint(bob),
    before,
    file: expect.any(String),
    running: expect.any(Array),
  });
  bob.env.PTALK_ACCEPT = "known"; // alice is, whatever key she has
  inbox = await receive(bob);
  const sent = await alice.run(["send", b, "to the new key"]);
  expect(sent).toMatchObject({ code: 0, stderr: expect.stringMatching(changed(b)) });
  expect(await alice.run(["send", b, "again"])).toMatchObject({ code: 0, stderr: "" });
  const [peer] = JSON.parse((await alice.run(["key", "--json"])).stdout).peers;
  expect(peer).toMatchObject({ name: b, fingerprint: said.fingerprint, verified: false });
  // And the other way: the receiver follows a sender, two keys later.
  await rotate(alice);
  await rotate(alice);
  expect(await alice.run(["send", b, "from a new key"])).toMatchObject({ code: 0 });
  const texts: string[] = [];
  while (texts.at(-1) !== "from a new key") {
    const { type, text, verified, from } = JSON.parse(await inbox.line());
    if (type === "message") texts.push(text);
    if (text === "from a new key") expect([verified, from]).toEqual([true, a]);
  }
  expect(await stop(inbox)).toContain(`the key of "${a}" has changed`);
});

it("is followed after a restart of the server, and by who was away for several keys", async () => {
  const [{ user: alice }, { user: bob, name: b }] = [newUser("alice"), newUser("bob")];
  let inbox = await receive(bob);
  expect(await alice.run(["send", b, "hi"])).toMatchObject({ code: 0 });
  await stop(inbox);
  for (let i = 0; i < 3; i++) {
    await rotate(bob);
    expect(await bob.run(["send", "--timeout", "20s", "nobody-there", "x"])).toMatchObject({ code: 67 });
  }
  await server.stop();
  server = await ServerProcess.start(["--listen", server.address, "--workers", "2", "--state-dir", folder.path]);
  inbox = await receive(bob);
  expect(await alice.run(["send", b, "hello"])).toMatchObject({ code: 0, stderr: expect.stringMatching(changed(b)) });
});

it("opens what was left for the old key, and leaves for the new one", async () => {
  const [{ user: alice, name: a }, { user: bob, name: b }] = [newUser("alice"), newUser("bob")];
  const inbox = await receive(bob);
  expect(await alice.run(["send", b, "hi"])).toMatchObject({ code: 0 });
  await stop(inbox);
  expect(await alice.run(["send", "--leave", b, "for the old key"])).toMatchObject({ code: 0 });
  await rotate(bob);
  const first = await receive(bob);
  expect(JSON.parse(await first.line())).toMatchObject({ type: "message", from: a, text: "for the old key" });
  await stop(first);
  const left = await alice.run(["send", "--leave", b, "for the new key"]);
  expect(left).toMatchObject({ code: 0, stderr: expect.stringMatching(changed(b)) });
  const second = await receive(bob);
  expect(JSON.parse(await second.line())).toMatchObject({ type: "message", from: a, text: "for the new key" });
});

it("gives out what its holder left before, to who knows the new key already, as not verified", async () => {
  const [{ user: alice, name: a }, { user: bob, name: b }] = [newUser("alice"), newUser("bob")];
  await stop(await receive(alice)); // the server knows her key
  let inbox = await receive(bob);
  expect(await alice.run(["send", b, "hi"])).toMatchObject({ code: 0 });
  await stop(inbox);
  expect(await bob.run(["send", "--leave", a, "with the old key"])).toMatchObject({ code: 0 });
  await rotate(bob);
  inbox = await receive(bob);
  expect(await alice.run(["send", b, "hi"])).toMatchObject({ code: 0, stderr: expect.stringMatching(changed(b)) });
  const later = await receive(alice);
  const message = { type: "message", from: b, text: "with the old key", verified: false };
  expect(JSON.parse(await later.line())).toMatchObject(message);
});

it("is refused to a key that nobody has signed, and names what still runs with the old one", async () => {
  const [{ user: alice }, { user: bob, name: b }] = [newUser("alice"), newUser("bob")];
  const inbox = await receive(bob);
  expect(await alice.run(["send", b, "hi"])).toMatchObject({ code: 0 });
  const said = await bob.run(["key", "rotate"]);
  expect(said).toMatchObject({
    code: 0,
    stderr: expect.stringMatching(`what you run as .*${b}.* has the old key until it is started again`),
  });
  await stop(inbox);
  // The chain is lost: what remains is another key.
  rmSync(join(bob.home, "state", "ptalk", "key-chains"));
  expect(await bob.run(["recv"])).toMatchObject({ code: 73 });
  rmSync(join(bob.home, "state", "ptalk", "key"));
  expect(await bob.run(["recv"])).toMatchObject({ code: 73 });
  expect(readFileSync(join(folder.path, "server-names"), "utf8")).toContain(` ${b} `);
});
