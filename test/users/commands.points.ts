// The commands on a host with several users: without a server, and beside another user's server.
import { findLiveServer } from "../../lib/directory/live-server.ts";
import { hold, PORT, type Point, type World } from "./world.ts";

async function nobodyOn({ alice }: World): Promise<string> {
  const all = await alice.run(["all", "--json"]);
  hold(all.status === 0 && all.stdout === "[]", `all: ${all.status} ${all.stdout} ${all.stderr}`);
  const shown = await alice.run(["all"]);
  hold(shown.status === 0 && shown.stdout === "nobody is on", `all: ${shown.status} ${shown.stdout}`);
  for (const args of [
    ["lookup", "bob"],
    ["send", "bob", "hello"],
  ]) {
    const { status, stdout, stderr } = await alice.run(args);
    hold(status === 67 && stdout === "" && stderr.trim() === "ptalk: nobody is on", `${args[0]}: ${status} ${stderr}`);
  }
  const asked = await alice.run(["all", "--server", `127.0.0.1:${PORT}`]);
  hold(asked.status === 69, `a server that was asked for: ${asked.status}`);
  return "all 0 and empty, lookup 67, send 67; 69 where a server was asked for";
}

async function besideAnother({ alice, bob }: World): Promise<string> {
  const first = alice.ptalk("serve", "--workers", "1");
  await first.until("alice's server", (lines) => lines.some((line) => line.includes("serving on")));
  const server = findLiveServer({ host: "127.0.0.1", port: PORT });
  hold(server?.uid === alice.uid, "alice's server is not the live one");
  const { status, stderr } = await bob.run(["serve"]);
  hold(status === 69, `bob's ended with ${status}`);
  hold(stderr.includes(`of user alice (pid ${server?.pid})`) && stderr.includes("--listen"), `it says: ${stderr}`);
  const low = await bob.run(["serve", "--listen", "127.0.0.1:80", "--workers", "1"]);
  return `69, alice and her pid named, with the way out; port 80: ${low.status}`;
}

export const points: readonly Point[] = [
  { name: "no client at the default address", run: nobodyOn },
  { name: "serve beside another user's server", run: besideAnother },
];
