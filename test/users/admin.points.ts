// Administrators on a host with several users, at the default server and at one that root runs.
import { join } from "node:path";
import { clients, FIXTURES, said } from "./clients.ts";
import { hold, type Point, servers, type UserProgram, until, type World } from "./world.ts";

const ON_PORT = ["--server", "127.0.0.1:5519"];

/** Root's server, on another port. */
async function serve({ root }: World, ...options: string[]): Promise<UserProgram> {
  const folder = join(root.home, `state-${options.length}`);
  const serving = root.ptalk(
    "serve",
    "--listen",
    "127.0.0.1:5519",
    "--workers",
    "2",
    "--state-dir",
    folder,
    ...options,
  );
  await serving.until("root's server", (lines) => lines.some((line) => line.includes("serving on")));
  return serving;
}

async function on(user: World["alice"], ...words: string[]): Promise<UserProgram> {
  const program = user.ptalk(...words, "talk", "--json");
  await program.until(`${user.name} to be on`, (lines) => lines.some((line) => line.includes('"registered"')));
  return program;
}

async function atDefault(world: World): Promise<string> {
  const { alice, bob, root } = world;
  const programs = [await clients(alice, ["ann"]), await clients(bob, ["ben"])];
  const refused = await alice.run(["admin", "clients"]);
  hold(refused.status === 77, `its starter is an administrator: ${refused.status} ${refused.stdout}`);
  const shown = JSON.parse((await root.run(["admin", "--json", "clients"])).stdout) as { name: string; uid: number }[];
  hold(shown.length === 2, `${shown.length} clients are shown`);
  hold(shown.find(({ name }) => name === "ben")?.uid === bob.uid, "ben is not shown with bob's uid");
  const before = servers();
  const drained = await root.run(["admin", "drain"]);
  hold(drained.status === 0, `drain: ${drained.stderr}`);
  for (const program of programs)
    await program.until("its client to be back", () => said(program).some(({ event }) => event === "back"));
  await until("the drained server to have ended", () => servers().length === 1);
  hold(servers()[0] !== before[0], "the drained server goes on");
  return "its starter gets 77, root sees names and uids; drained, a client starts the next one, and all are back";
}

async function removed(world: World): Promise<string> {
  const { alice, bob, mallory, root } = world;
  await serve(world, "--admins", "alice");
  const [trouble, quiet] = [await on(mallory, ...ON_PORT), await on(bob, ...ON_PORT)];
  const kicked = await alice.run([...ON_PORT, "admin", "kick", "mallory"]);
  hold(kicked.status === 0, `kick: ${kicked.stderr}`);
  await until("mallory's client to end", () => trouble.isOver);
  hold(trouble.child.exitCode === 77 && trouble.stderr.includes("alice (uid"), `it ended so: ${trouble.stderr}`);
  const banned = await root.run([...ON_PORT, "admin", "ban", String(mallory.uid), "1h"]);
  hold(banned.status === 0, `ban: ${banned.stderr}`);
  for (const args of [["all"], ["send", "bob", "hello"], ["recv", "--count", "1"]]) {
    const { status, stderr } = await mallory.run([...ON_PORT, ...args]);
    hold(status === 77 && stderr.includes("banned until"), `${args[0]} of a banned user: ${status} ${stderr}`);
  }
  const refused = await bob.run([...ON_PORT, "admin", "unban", String(mallory.uid)]);
  hold(refused.status === 77 && refused.stderr.includes("--admins"), `bob is an administrator: ${refused.stderr}`);
  const sent = await alice.run([...ON_PORT, "send", "bob", "hello"]);
  hold(sent.status === 0 && !quiet.isOver, `bob is hindered: ${sent.stderr}`);
  await alice.run([...ON_PORT, "admin", "unban", String(mallory.uid)]);
  hold((await mallory.run([...ON_PORT, "all"])).status === 0, "mallory stays banned");
  return "kick 77 with who did it, ban 77 with until when, for others 77; bob notices nothing";
}

async function wall(world: World): Promise<string> {
  const { alice, bob, mallory } = world;
  await serve(world, "--admins", "alice", "--no-mailbox");
  const inbox = await on(bob, ...ON_PORT);
  hold((await alice.run([...ON_PORT, "wall", "at six"])).status === 0, "alice's wall");
  await inbox.until("alice's wall", (lines) => lines.some((line) => line.includes('"kind":"wall"')));
  const { status, stderr } = await mallory.run([...ON_PORT, "wall", "obey"]);
  hold(status === 77 && stderr.includes("--admins"), `mallory's: ${status} ${stderr}`);
  return "an administrator's is shown as such, another user's 77";
}

async function greeting(world: World): Promise<string> {
  const { alice, bob, root } = world;
  const first = await clients(alice, ["ann"]);
  for (const user of [alice, bob, root]) {
    const program = user.ptalk("recv");
    const says = (): boolean => program.stderr.includes(`run by alice, uid ${alice.uid}`);
    await until(`${user.name} to be greeted`, () => program.stderr.includes("waiting for messages"));
    if (user !== alice) await until(`${user.name} to hear whose the server is`, says);
    await program.kill();
    if (user === alice) hold(!says(), `alice is told of herself: ${program.stderr}`);
  }
  const program = await on(bob);
  const registered = JSON.parse(program.lines[0] as string);
  hold(registered.serverUid === alice.uid && registered.serverUser === "alice", `registered: ${program.lines[0]}`);
  await first.kill();
  process.kill(servers()[0] as number, "SIGKILL");
  const isBack = (line: string): boolean => line.includes('"state":"back"');
  await program.until("bob to be back", (lines) => lines.some(isBack));
  const back = JSON.parse(program.lines.find(isBack) as string);
  const { address, uid, user } = back;
  hold(address === "127.0.0.1:5518" && uid === bob.uid && user === "bob", `back: ${JSON.stringify(back)}`);
  return "bob and root are told that alice runs the server, alice is not; `server` names the new one's user, bob";
}

const MOST = 16; // of one user, on a server with room for 32, as docs/PROTOCOL.md says

async function bounded(world: World): Promise<string> {
  const { alice, bob, mallory } = world;
  await serve(world, "--capacity", "32", "--no-mailbox");
  const names = Array.from({ length: MOST + 2 }, (_, i) => `mal${i}`);
  const command = [process.execPath, join(FIXTURES, "clients.js"), join(mallory.home, "many"), ...names];
  const hog = mallory.start(command, { PTALK_AT: "127.0.0.1:5519" });
  const count = (event: string): number => said(hog).filter((line) => line.event === event).length;
  await hog.until("every client to be on or refused", () => count("on") + count("error") === names.length);
  hold(count("on") === MOST, `${count("on")} clients of one user are on`);
  hold(
    hog.lines.some((line) => line.includes(`your user has ${MOST} clients on`)),
    `they hear: ${hog.lines.at(-1)}`,
  );
  const refused = await mallory.run([...ON_PORT, "--as", "one-more", "recv"]);
  hold(refused.status === 69 && refused.stderr.includes("end one first"), `recv: ${refused.status} ${refused.stderr}`);
  const others = await Promise.all([alice, bob].map((user) => on(user, ...ON_PORT)));
  hold((await alice.run([...ON_PORT, "send", "bob", "hello"])).status === 0, "alice does not reach bob");
  hold(
    others.every((program) => !program.isOver),
    "another user's client has ended",
  );
  await hog.kill();
  const again = await mallory.run([...ON_PORT, "--as", "mal0-again", "send", "bob", "hello"]);
  hold(again.status === 0, `mallory after that: ${again.stderr}`);
  return `${MOST} clients of one user on a server for 32, then 69 with the reason; two other users notice nothing`;
}

export const points: readonly Point[] = [
  { name: "clients are told whose the default server is", run: greeting },
  { name: "administrators at the default server", run: atDefault },
  { name: "administrators remove and ban, nobody else does", run: removed },
  { name: "wall of an administrator", run: wall },
  { name: "one user's clients leave room for others", run: bounded },
];
