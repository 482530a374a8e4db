// The default server, which any user may own: what a user can do to the others by its objects, its port and its death.
import { join } from "node:path";
import { findLiveServer } from "../../lib/directory/live-server.ts";
import { Directory } from "../../lib/index.ts";
import { clients, FIXTURES, said } from "./clients.ts";
import { hold, PORT, type Point, servers, type UserProgram, until, type World } from "./world.ts";

const ADDRESS = { host: "127.0.0.1", port: PORT };
/** No user is locked out for longer than this, beside what a start takes on this machine as it is. */
const LOCKED_OUT_MS = 5_000;
const NAMES_PLANTED = 10_000;

/** Ms that a first client, and its server, take to start without an attacker. */
async function usualStart(world: World): Promise<number> {
  const begin = performance.now();
  await clients(world.alice, ["zoe"]);
  const ms = performance.now() - begin;
  await world.reset();
  return ms;
}

/** Name and key of every client. */
function keys(): Map<string, string> {
  const directory = Directory.open({ port: PORT });
  const all = new Map(directory.all().map(({ name, key }) => [name, key]));
  directory.close();
  return all;
}

/** Kills the default server; resolves when all clients are back. @returns ms until the last one was */
async function killServer(programs: readonly UserProgram[], count: number): Promise<number> {
  const server = findLiveServer(ADDRESS);
  if (server === null) throw new Error("there is no live server to kill");
  const counts = programs.map((program) => said(program).filter(({ event }) => event === "back").length);
  const at = Date.now();
  process.kill(server.pid, "SIGKILL");
  for (const [index, program] of programs.entries()) {
    const before = counts[index] as number;
    const own = said(program).filter(({ event }) => event === "on").length;
    await program.until(`its ${own} clients to be back`, () => {
      const gone = said(program).find(({ event }) => event === "error");
      if (gone !== undefined) throw new Error(JSON.stringify(gone));
      return said(program).filter(({ event }) => event === "back").length >= before + own;
    });
  }
  const backs = programs.flatMap((program, index) =>
    said(program)
      .filter(({ event }) => event === "back")
      .slice(counts[index]),
  );
  hold(backs.length === count, `${backs.length} clients came back, not ${count}`);
  return Math.max(...backs.map((back) => back.at)) - at;
}

function summary(times: readonly number[]): string {
  const sorted = [...times].sort((a, b) => a - b);
  const seconds = (ms = 0) => `${(ms / 1000).toFixed(2)} s`;
  return `median ${seconds(sorted[Math.floor(sorted.length / 2)])}, worst ${seconds(sorted.at(-1))}`;
}

const named = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, i) => `${prefix}${i}`);

async function planted(world: World): Promise<string> {
  const { alice, bob, mallory } = world;
  const usual = await usualStart(world);
  const uids = [0, ...world.users.map(({ uid }) => uid)].map(String);
  const planter = mallory.node(join(FIXTURES, "planter.js"), String(PORT), String(NAMES_PLANTED), ...uids);
  await planter.until("it to have planted", (lines) => lines.includes("ready"));
  const begin = performance.now();
  const first = await clients(alice, ["ann"]);
  const startMs = performance.now() - begin;
  const sent = await bob.run(["send", "ann", "hello"]);
  hold(sent.status === 0, `bob's message: ${sent.stderr}`);
  await first.until("the message", (lines) => lines.some((line) => line.includes("hello")));
  hold(findLiveServer(ADDRESS)?.uid === alice.uid, "the live server is not alice's");
  const listed = await bob.run(["list"]);
  hold(listed.status === 0 && listed.stdout.includes("ann"), `list: ${listed.stdout} ${listed.stderr}`);
  hold(startMs < LOCKED_OUT_MS + usual, `alice was locked out for ${Math.round(startMs)} ms`);
  return `${NAMES_PLANTED} names; on after ${Math.round(startMs)} ms (without them ${Math.round(usual)} ms), list ${listed.ms} ms, a message delivered`;
}

async function readLocks(world: World): Promise<string> {
  const { alice, bob, mallory } = world;
  const usual = await usualStart(world);
  const planter = mallory.node(join(FIXTURES, "planter.js"), String(PORT), "0", String(alice.uid));
  await planter.until("it to lock", (lines) => lines.includes("ready"));
  const programs = [await clients(alice, ["ann"]), await clients(bob, ["ben"])];
  const times: number[] = [];
  for (let round = 0; round < 5; round++) {
    const dead = findLiveServer(ADDRESS);
    times.push(await killServer(programs, 2));
    const next = findLiveServer(ADDRESS);
    hold(next !== null && next.name !== dead?.name, "a dead server looks alive");
  }
  hold(Math.max(...times) < LOCKED_OUT_MS + usual, `somebody was locked out: ${summary(times)}`);
  return `5 SIGKILLs with read locks on every object, live and dead: ${summary(times)}`;
}

async function squatted(world: World): Promise<string> {
  const { alice, mallory } = world;
  const found: string[] = [];
  for (const manner of ["garbage", "silence"]) {
    const squatter = mallory.node(join(FIXTURES, "squatter.js"), String(PORT), manner, "0");
    await squatter.until("it to have the port", (lines) => lines.includes("has"));
    const { status, stderr, ms } = await alice.run(["recv", "--count", "1"]);
    hold(status === 69, `recv ended with ${status}: ${stderr}`);
    hold(stderr.includes("mallory"), `no user is named: ${stderr}`);
    hold(/--listen|--server/.test(stderr), `no way out: ${stderr}`);
    hold(findLiveServer(ADDRESS) === null, "it counts as a server");
    found.push(`${manner} 69 after ${(ms / 1000).toFixed(1)} s`);
    await squatter.kill();
  }
  return `named with the way out: ${found.join(", ")}`;
}

async function raced(world: World): Promise<string> {
  const { alice, bob, mallory } = world;
  const usual = await usualStart(world);
  const programs = [await clients(alice, ["ann"]), await clients(bob, ["ben"])];
  const times: number[] = [];
  let won = 0;
  for (let round = 0; round < 10; round++) {
    const squatter = mallory.node(
      join(FIXTURES, "squatter.js"),
      String(PORT),
      round % 2 ? "garbage" : "silence",
      "1000",
    );
    const ms = await killServer(programs, 2);
    const held = squatter.lines.includes("has");
    if (held) won++;
    times.push(ms - (held ? 1_000 : 0));
    await squatter.kill();
  }
  hold(Math.max(...times) < LOCKED_OUT_MS + usual, `somebody was locked out for longer: ${summary(times)}`);
  return `10 SIGKILLs, the port taken ${won} times for 1 s; back after it was free: ${summary(times)}`;
}

async function killed(world: World): Promise<string> {
  const { alice, bob, mallory } = world;
  const programs = [
    await clients(alice, named("ann", 14)),
    await clients(bob, named("ben", 13)),
    await clients(mallory, named("mal", 13)),
  ];
  const before = keys();
  hold(before.size === 40, `${before.size} are on, not 40`);
  const times: number[] = [];
  for (let round = 0; round < 20; round++) {
    times.push(await killServer(programs, 40));
    await until("one server to be left", () => servers().length === 1);
    const after = keys();
    hold(after.size === 40, `${after.size} of 40 are on`);
    for (const [name, key] of before) hold(after.get(name) === key, `${name} has another key`);
  }
  return `20 SIGKILLs, 40 clients of three uids: one new server each time, every name with its key; all back: ${summary(times)}`;
}

export const points: readonly Point[] = [
  { name: "planted files of every name do not lock users out", run: planted },
  { name: "read locks neither lock out nor revive", run: readLocks },
  { name: "a user that holds the port without a server is named", run: squatted },
  { name: "a race for the port", run: raced },
  { name: "the default server killed", run: killed },
];
