// A server that shows another certificate than before, while clients are on: they have no business with it, and go on with each other.
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { TalkClient } from "../../lib/client/talk-client.ts";
import { User } from "../helpers/cli.ts";
import { freshStateDir, ServerProcess, until } from "../helpers/lookup-server.ts";

/** TLS is for addresses beyond loopback. */
const own = Object.values(networkInterfaces())
  .flat()
  .find((one) => one?.family === "IPv4" && !one.internal)?.address;

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

describe.skipIf(own === undefined)("a certificate that changes", () => {
  it("is told once, ends no conversation, and is no more when the right one is back; new commands get 77 with the way out", async () => {
    const home = freshStateDir();
    undo.push(home.remove);
    const start = (listen: string, state: string) =>
      ServerProcess.start(["--listen", listen, "--tls", "--workers", "1", "--state-dir", join(home.path, state)]);
    const genuine = await start(`${own}:0`, "genuine");
    const { address } = genuine;
    const join_ = async (name: string) => {
      const client = await TalkClient.connect({ name, server: address, stateDir: join(home.path, name) });
      undo.push(() => client.close());
      const heard: string[] = [];
      client.on("message", ({ text }) => void heard.push(text));
      client.on("error", (error) => void heard.push(`error: ${error.message}`));
      client.on("refused", ({ message }) => void heard.push(message));
      client.on("server", ({ state }) => void heard.push(state));
      return { client, heard };
    };
    const [alice, bob] = [await join_("alice"), await join_("bob")];
    await alice.client.send("bob", "before");
    await genuine.stop();
    const other = await start(address, "other");
    const isRefused = (line: string): boolean => /^the certificate of .* has changed: known SHA256:/.test(line);
    for (const { heard } of [alice, bob]) await until("the refusal", () => heard.some(isRefused));
    expect(await alice.client.send("bob", "meanwhile")).toMatchObject({ state: "delivered" });
    expect(await bob.client.send("alice", "and back")).toMatchObject({ state: "delivered" });
    expect(bob.heard.filter((line) => line === "meanwhile")).toHaveLength(1);
    using newcomer = new User({ PTALK_STATE_DIR: join(home.path, "alice"), PTALK_SERVER: address });
    for (const words of [["send", "--as", "al", "bob", "hi"], ["all"], ["recv", "--as", "al"]]) {
      expect(await newcomer.run(words)).toMatchObject({
        ...{ code: 77, stdout: "", stderr: expect.stringContaining(`ptalk key forget ${address}`) },
      });
    }
    // Both have tried again meanwhile.
    for (const { heard } of [alice, bob]) expect(heard.filter(isRefused)).toHaveLength(1);
    await other.stop();
    const back = await start(address, "genuine");
    undo.push(() => back.stop());
    for (const { heard } of [alice, bob]) await until("the server to be back", () => heard.includes("back"));
    await until("both to be on", async () => (await alice.client.all()).length === 2);
    for (const { heard } of [alice, bob]) expect(heard.filter((line) => line.startsWith("error"))).toEqual([]);
  }, 60_000);
});
