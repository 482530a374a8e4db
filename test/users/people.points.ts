// Who has which name on a host with several users, whoever started the server, and what a user meets in odd surroundings.
import { chownSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { COMMAND } from "../helpers/command.js";
import { clients, said } from "./clients.ts";
import { hold, type Point, servers, type User, type UserProgram, until, type World } from "./world.ts";

interface Row {
  readonly name: string;
  readonly uid: number | null;
  readonly attested: string | null;
}

const rows = async (user: User): Promise<Row[]> => JSON.parse((await user.run(["all", "--json"])).stdout);

async function on(user: User, ...words: string[]): Promise<UserProgram> {
  const program = user.ptalk(...words);
  await program.until(`${user.name} to be on`, (lines) => lines.some((line) => line.includes('"registered"')));
  return program;
}

async function killedOne({ alice, bob }: World): Promise<string> {
  const serving = alice.ptalk("serve", "--workers", "1");
  await serving.until("alice's server", (lines) => lines.some((line) => line.includes("serving on")));
  await serving.kill();
  const begin = performance.now();
  const inbox = await on(bob, "recv", "--json");
  const ms = Math.round(performance.now() - begin);
  const [row] = await rows(bob);
  hold(row?.name === "bob" && row.uid === bob.uid, `bob is not on: ${JSON.stringify(row)}`);
  const doctor = await bob.run(["doctor"]);
  hold(doctor.stdout.includes("alice"), "doctor does not name whose objects are left");
  await inbox.kill();
  return `bob is on after ${ms} ms, doctor names alice's remains`;
}

async function partner({ bob, mallory }: World): Promise<string> {
  const talking = await on(mallory, "bob", "--json");
  hold(JSON.parse(talking.lines[0] as string).name === "mallory", `it is on as ${talking.lines[0]}`);
  const inbox = await on(bob, "recv", "--json", "--count", "1");
  const sent = await bob.run(["send", "mallory", "hello"]);
  hold(sent.status === 0, `bob sends: ${sent.status} ${sent.stderr}`);
  await talking.until("bob's message", (lines) => lines.some((line) => line.includes('"from":"bob"')));
  talking.child.stdin?.write("hello yourself\n");
  await inbox.until("mallory's answer", (lines) => lines.some((line) => line.includes('"from":"mallory"')));
  return "`ptalk bob` is mallory's talk to bob; the real bob receives, sends and talks";
}

async function impostors({ alice, mallory }: World): Promise<string> {
  await on(alice, "recv", "--json");
  const tried = ["root", "bob", "alice", "Alice-3"];
  for (const name of tried) {
    for (const words of [
      ["recv", "--timeout", "5s"],
      ["send", "alice", "hello"],
    ]) {
      const { status, stderr } = await mallory.run(["--as", name, ...words]);
      hold(status === 77 && stderr.includes("reserved"), `${words[0]} as ${name}: ${status} ${stderr}`);
    }
  }
  const { status, stderr } = await mallory.run(["--as", "аlice", "send", "alice", "hello"]);
  hold(status === 65, `a Cyrillic look-alike: ${status} ${stderr}`);
  return `${tried.join(", ")}: 77 for recv and send; a look-alike of alice: 65`;
}

async function anyStarter(world: World): Promise<string> {
  const starters = new Set<number>();
  for (let round = 0; round < 3; round++) {
    const programs = await Promise.all(world.users.map((user) => on(user, "recv", "--json")));
    const found = await rows(world.alice);
    for (const { name, uid } of world.users) {
      const row = found.find((each) => each.name === name);
      hold(row?.uid === uid && row.attested === "kernel", `${name} belongs to ${JSON.stringify(row)}`);
    }
    const [first = ""] = programs.map(({ lines }) => lines[0]);
    starters.add((JSON.parse(first) as { serverUid: number }).serverUid);
    await world.reset();
  }
  return `3 starts by three users at once, by ${starters.size} of them: each has its login name, by the kernel's word`;
}

async function taken({ alice, bob }: World): Promise<string> {
  await on(alice, "--as", "fox", "recv", "--json");
  const { status, stderr } = await bob.run(["--as", "fox", "recv", "--timeout", "5s"]);
  hold(status === 73 && /key SHA256:\S+ on host \S+ since \d{4}-/.test(stderr), `taken: ${status} ${stderr}`);
  const before = await on(bob, "recv", "--json");
  await before.kill();
  rmSync(join(bob.home, ".local"), { recursive: true, force: true });
  const after = await on(bob, "recv", "--json");
  hold(JSON.parse(after.lines[0] as string).name === "bob", `without the key: ${after.lines[0]}`);
  return "73 names key, host and time; with a lost key bob has his login name again";
}

async function mapped({ dave }: World): Promise<string> {
  const inbox = await on(dave, "recv", "--json");
  const { name, user } = JSON.parse(inbox.lines[0] as string) as { name: string; user: string };
  hold(user === dave.name && /^dave_40ad\.example$/.test(name), `it is on as ${name}, ${user}`);
  return `${dave.name} is on as ${name}`;
}

async function waiting({ alice, bob }: World): Promise<string> {
  const program = await clients(alice, ["ann"]);
  const other = await clients(bob, ["ben"]);
  const [server = 0] = servers();
  await program.kill();
  process.kill(server, "SIGKILL");
  await other.until("it to be back alone", () => said(other).some(({ event }) => event === "back"));
  await until("a new server", () => servers().length === 1 && servers()[0] !== server);
  return "a client whose server was killed, and its starter has left, starts the next one by itself";
}

async function surroundings({ alice, bob }: World): Promise<string> {
  const inbox = await on(alice, "recv", "--json");
  const command = `mount -t tmpfs -o mode=1777 tmpfs /dev/shm && mount -t proc -o hidepid=2 proc /proc && exec "$@"`;
  const ids = [`--reuid=${bob.uid}`, `--regid=${bob.uid}`, "--clear-groups"];
  const words = ["setpriv", ...ids, "--", ...COMMAND, "send", "alice", "from a job"];
  // Root makes the namespaces of the job, as slurmd does.
  const job = bob.startAsRoot(["unshare", "-m", "-p", "--fork", "sh", "-c", command, "sh", ...words]);
  await until("the job to end", () => job.isOver);
  hold(job.child.exitCode === 0, `send: ${job.child.exitCode} ${job.stderr}`);
  await inbox.until("the job's message", (lines) => lines.some((line) => line.includes("from a job")));
  const message = JSON.parse(inbox.lines.find((line) => line.includes("from a job")) as string);
  hold(message.from === "bob" && message.verified === true && message.uid === bob.uid, JSON.stringify(message));
  return "bob's send with a private /dev/shm under hidepid=2 is bob's, verified, by the kernel's word";
}

async function oddSettings({ bob }: World): Promise<string> {
  const folder = join(bob.home, ".config/ptalk");
  mkdirSync(folder, { recursive: true });
  const file = join(folder, "config.toml");
  writeFileSync(file, 'name = "robert"\n', { mode: 0o600 });
  for (const path of [join(bob.home, ".config"), folder]) chownSync(path, bob.uid, bob.uid);
  const unreadable = await bob.run(["all"]);
  hold(unreadable.status === 77, `root's config in bob's home: ${unreadable.status} ${unreadable.stderr}`);
  rmSync(file);
  writeFileSync(file, 'state-dir = "relative"\n');
  chownSync(file, bob.uid, bob.uid);
  const relative = await bob.run(["all"]);
  hold(
    relative.status === 64 && relative.stderr.includes("state-dir"),
    `relative: ${relative.status} ${relative.stderr}`,
  );
  rmSync(file);
  const home = bob.start([...COMMAND, "all"], { HOME: "/proc" });
  await until("it to end", () => home.isOver);
  hold(home.child.exitCode !== 70, `HOME=/proc: ${home.stderr}`);
  return `a config that bob cannot read 77, a relative path in it 64, HOME=/proc ${home.child.exitCode}`;
}

export const points: readonly Point[] = [
  { name: "a killed server locks nobody out", run: killedOne },
  { name: "ptalk PEER talks to PEER, as oneself", run: partner },
  { name: "nobody has another user's login name, or a look-alike", run: impostors },
  { name: "names do not depend on who started the server", run: anyStarter },
  { name: "a client goes on when its server's user has left", run: waiting },
  { name: "a taken name is explained, a lost key costs no login name", run: taken },
  { name: "a login that is no ptalk name has one", run: mapped },
  { name: "send from a job with a private /dev/shm under hidepid=2", run: surroundings },
  { name: "settings that cannot be used", run: oddSettings },
];
