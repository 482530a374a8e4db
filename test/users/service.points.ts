// The service that root installs for everybody: where its socket is, no client uses another server.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { SERVICE_SOCKET } from "../../lib/base/service.ts";
import { clients, FIXTURES, said } from "./clients.ts";
import { hold, type Point, servers, type UserProgram, until, type World } from "./world.ts";

const isBack = (program: UserProgram) => said(program).some(({ event }) => event === "back");

async function service({ alice, bob, root }: World): Promise<string> {
  const programs = [await clients(alice, ["ann"]), await clients(bob, ["ben"])];
  hold(servers().length === 1, "there is no default server");
  const options = ["--listen", "127.0.0.1:5519", "--socket", SERVICE_SOCKET, "--workers", "1"];
  const begin = performance.now();
  const serving = root.ptalk("serve", ...options, "--state-dir", join(root.home, "state"));
  await serving.until("the service", (lines) => lines.some((line) => line.includes("serving on")));
  for (const program of programs) await program.until("its client to be back", () => isBack(program));
  await until("the default server to have ended", () => servers().length === 0);
  const moved = Math.round(performance.now() - begin);
  const sent = await bob.run(["send", "ann", "hello"]);
  hold(sent.status === 0, `send: ${sent.stderr}`);
  await Promise.all(programs.map((program) => program.kill()));
  await serving.kill();
  hold(existsSync(SERVICE_SOCKET), "the killed service has no socket left: nothing to be tried");
  for (const args of [["all"], ["send", "ann", "hello"], ["recv", "--count", "1"]]) {
    const { status, stderr } = await alice.run(args);
    hold(status === 69, `${args[0]} without the service: ${status} ${stderr}`);
    hold(stderr.includes(SERVICE_SOCKET) && stderr.includes("systemctl start"), `no remedy: ${stderr}`);
  }
  hold(servers().length === 0, "somebody started a server beside the service");
  return `clients moved there, the default server ended (${moved} ms from its start); without it 69 and the remedy`;
}

const MOST = 513; // half of what a server with room for one client takes, as docs/PROTOCOL.md says
const OPENED = 700;

async function hogged({ alice, mallory, root }: World): Promise<string> {
  const options = ["--listen", "127.0.0.1:5519", "--socket", SERVICE_SOCKET, "--workers", "1", "--capacity", "1"];
  const serving = root.ptalk("serve", ...options, "--state-dir", join(root.home, "small"));
  await serving.until("the service", (lines) => lines.some((line) => line.includes("serving on")));
  const hog = mallory.node(join(FIXTURES, "hog.js"), SERVICE_SOCKET, String(OPENED));
  await hog.until("it to have tried", (lines) => lines.some((line) => line.startsWith("refused")));
  hold(hog.lines.includes(`refused ${OPENED - MOST}`), `of ${OPENED} connections: ${hog.lines.join()}`);
  for (const user of [alice, root]) {
    const { status, stderr } = await user.run(["all"]);
    hold(status === 0, `${user.name} does not get in: ${stderr}`);
  }
  return `${MOST} of ${OPENED} connections taken, the others refused; alice and root get in`;
}

export const points: readonly Point[] = [
  { name: "the service goes before all others", run: service },
  { name: "one user's connections leave room for others", run: hogged },
];
