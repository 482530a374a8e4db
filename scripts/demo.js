// `npm run demo`: the main job, for real. A lookup server and three clients, each its own process with its own key, talk;
// one is killed; the server is asked to stop with SIGINT and the question confirmed; nothing may be left behind.
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const PROGRAM = join(import.meta.dirname, "..", "bin", "ptalk.js");
const STEP_LIMIT_MS = 30_000; // a watchdog for each step; they take milliseconds
const home = mkdtempSync(join(tmpdir(), "ptalk-demo-"));
const running = new Set();
let server = "";

const say = (text) => console.log(text);
const ours = () => readdirSync("/dev/shm").filter((name) => /^(sem\.)?ptalk-(server|host)-/.test(name));

/** A ptalk process. `until(test)` waits for a line that passes, lines before included, each line once. */
function start(name, args) {
  const env = { ...process.env, XDG_STATE_HOME: join(home, name), XDG_CONFIG_HOME: home, PTALK_SERVER: server };
  const child = spawn(process.execPath, [PROGRAM, ...args], { env, stdio: ["pipe", "pipe", "pipe"] });
  running.add(child);
  const lines = [];
  const waiting = new Set();
  const take = (line) => {
    lines.push(line);
    for (const check of waiting) check();
  };
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", take);
    stream.on("data", (chunk) => {
      if (/\] $/.test(chunk)) take(String(chunk)); // a question: its line ends with the answer
    });
  }
  const ended = new Promise((resolve) =>
    child.once("close", (code, signal) => {
      running.delete(child);
      resolve(code ?? signal);
    }),
  );
  const until = (what, test) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.delete(check);
        reject(new Error(`${name}: no ${what} within ${STEP_LIMIT_MS / 1000} s; it said:\n  ${lines.join("\n  ")}`));
      }, STEP_LIMIT_MS);
      const check = () => {
        const at = lines.findIndex((line) => test(line));
        if (at < 0) return;
        clearTimeout(timer);
        waiting.delete(check);
        resolve(lines.splice(at, 1)[0]);
      };
      waiting.add(check);
      check();
    });
  return { name, child, ended, until, type: (line) => child.stdin.write(`${line}\n`) };
}

/** A client that speaks JSON, one event a line. */
async function client(name) {
  const process = start(name, ["talk", "--as", name, "--json"]);
  const event = async (type, fits = () => true) => {
    const parse = (line) => (line.startsWith("{") ? JSON.parse(line) : {});
    const line = await process.until(`"${type}" event`, (line) => parse(line).type === type && fits(parse(line)));
    return JSON.parse(line);
  };
  const registered = await event("registered");
  say(`  ${name} is on: pid ${process.child.pid}, UDP port ${registered.port}, key ${registered.fingerprint}`);
  return { ...process, event, registered };
}

async function talk(from, to, text) {
  from.type(`${to.name} ${text}`);
  const { id } = await from.event("sent", (sent) => sent.to === to.name);
  const message = await to.event("message", (received) => received.id === id);
  const { ms } = await from.event("delivered", (delivered) => delivered.id === id);
  if (message.text !== text) throw new Error(`${to.name} got ${JSON.stringify(message.text)}`);
  say(`  ${from.name} -> ${to.name}: "${text}"  delivered in ${ms} ms${message.verified ? ", verified" : ""}`);
}

async function names(from, command) {
  from.type(command);
  const { clients } = await from.event(command.toLowerCase());
  return clients.map((one) => one.name).sort();
}

function expectEqual(what, found, wanted) {
  if (found.join() !== wanted.join()) throw new Error(`${what}: ${found.join(", ")} instead of ${wanted.join(", ")}`);
  say(`  ${what}: ${found.join(", ")}`);
}

async function conversation() {
  const before = ours();
  say("1. A lookup server, and three people with three keys");
  const serve = start("server", ["serve", "--listen", "127.0.0.1:0"]);
  const ready = await serve.until("ready line", (line) => line.startsWith("ptalk: serving on "));
  server = ready.split(" ")[3];
  say(`  ${ready}`);
  const [alice, bob, carol] = [await client("alice"), await client("bob"), await client("carol")];
  const all = ["alice", "bob", "carol"];
  // Others on this host may have any name, these too, at servers of their own.
  const local = (found) => all.filter((name) => found.includes(name));

  say("2. They talk: directly, encrypted, each message confirmed by the program that showed it");
  await talk(alice, bob, "hello bob, is the cluster up?");
  await talk(bob, alice, "since this morning. 早上好 👋");
  await talk(carol, alice, "lunch?");
  expectEqual("All (from the server)", await names(alice, "All"), all);
  expectEqual("List (from shared memory)", local(await names(bob, "List")), all);

  say("3. carol is killed with SIGKILL");
  carol.child.kill("SIGKILL");
  await carol.ended;
  await alice.event("peer", (peer) => peer.name === "carol" && peer.state === "left");
  expectEqual("All ", await names(alice, "All"), ["alice", "bob"]);
  expectEqual("List", local(await names(bob, "List")), ["alice", "bob"]);

  say("4. SIGINT asks the server to stop; the answer is yes");
  serve.child.kill("SIGINT");
  say(`  ${(await serve.until("question", (line) => line.includes("Shut down?"))).trim()} y`);
  serve.type("y");
  await alice.event("server", (event) => event.state === "closing");
  const status = await serve.ended;
  if (status !== 0) throw new Error(`the server ended with ${status}`);
  say("  the server told its clients and ended with status 0");

  say("5. The conversation goes on without it, then everyone leaves");
  await talk(alice, bob, "see you tomorrow");
  alice.type("Exit");
  bob.type("Exit");
  for (const one of [alice, bob]) {
    const code = await one.ended;
    if (code !== 0) throw new Error(`${one.name} ended with ${code}`);
  }
  const left = ours().filter((name) => !before.includes(name));
  if (left.length > 0) throw new Error(`left in /dev/shm: ${left.join(", ")}`);
  say("  nothing is left in /dev/shm");
}

try {
  await conversation();
  say("\nThe demo worked.");
} catch (error) {
  say(`\nThe demo FAILED: ${error.message}`);
  process.exitCode = 1;
} finally {
  for (const child of running) child.kill("SIGKILL");
  rmSync(home, { recursive: true, force: true });
}
