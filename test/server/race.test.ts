// Two clients, one name, two workers, thousands of times: exactly one has it.
import { afterAll, beforeAll, expect, it } from "vitest";
import type { RespValue } from "../../lib/wire/resp-reply.ts";
import {
  type Client,
  freshStateDir,
  newKeys,
  registerCommand,
  ServerProcess,
  until,
} from "../helpers/lookup-server.ts";

const ROUNDS = 2000;
const state = freshStateDir();
let server: ServerProcess;
beforeAll(async () => {
  server = await ServerProcess.start(["--workers", "2", "--state-dir", state.path]);
});
afterAll(async () => {
  await server.stop();
  state.remove();
});

const isTaken = (reply: RespValue) => (reply as { code?: string }).code === "TAKEN";

it(`of two keys that want one name at once, one gets it, ${ROUNDS} times`, { timeout: 180_000 }, async () => {
  const keys = [newKeys(), newKeys()] as const;
  const clients = [await server.client(), await server.client()] as const;
  const wins = [0, 0];
  for (let round = 0; round < ROUNDS; round++) {
    const name = `race${round}`;
    const commands = await Promise.all(
      clients.map(async (c, i) => registerCommand(await c.hello(), name, keys[i] as never)),
    );
    // Whose turn it is to be first on the wire changes.
    const order = round % 2 === 0 ? [0, 1] : [1, 0];
    const replies: RespValue[] = [];
    await Promise.all(
      order.map(async (i) => {
        replies[i] = await (clients[i] as Client).ask(...(commands[i] as string[]));
      }),
    );
    expect(replies.filter((reply) => reply === "OK")).toHaveLength(1);
    expect(replies.filter(isTaken)).toHaveLength(1);
    const winner = replies.indexOf("OK");
    wins[winner] = (wins[winner] as number) + 1;
    const entry = (await (clients[1 - winner] as Client).ask("LOOKUP", name)) as Map<string, string>;
    expect(entry.get("key")).toBe(keys[winner]?.key);
    expect(await (clients[winner] as Client).ask("UNREGISTER")).toBe("OK");
  }
  expect(await clients[0].ask("COUNT")).toBe(0);
  expect(wins[0]).toBeGreaterThan(0);
  expect(wins[1]).toBeGreaterThan(0);
  for (const client of clients) client.close();
});

it("of many connections of one key, one has the name at any time", async () => {
  const keys = newKeys();
  const clients = await Promise.all(Array.from({ length: 12 }, () => server.client()));
  const replies = await Promise.all(clients.map((client) => client.register("mine", keys)));
  expect(replies.filter((reply) => reply === "OK")).toHaveLength(1);
  const others = clients.filter((_, i) => replies[i] !== "OK");
  const taken = await Promise.all(others.map((client) => client.register("mine", keys, { replace: true })));
  expect(taken.every((reply) => reply === "OK")).toBe(true);
  await until("all but the last to be closed", () => clients.filter((client) => !client.isClosed).length === 1);
  const last = clients.find((client) => !client.isClosed) as Client;
  expect(await last.ask("COUNT")).toBe(1);
  last.close();
});

it("of many that continue one registration at once, one does", async () => {
  const keys = newKeys();
  for (let round = 0; round < 50; round++) {
    const clients = await Promise.all(Array.from({ length: 6 }, () => server.client()));
    const [first, ...others] = clients as [Client, ...Client[]];
    expect(await first.register("heir", keys)).toBe("OK");
    const takeover = first.claimId;
    const replies = await Promise.all(others.map((client) => client.register("heir", keys, { takeover })));
    expect(replies.filter((reply) => reply === "OK")).toHaveLength(1);
    expect(replies.filter(isTaken)).toHaveLength(others.length - 1);
    await first.closed;
    for (const client of clients) client.close();
    const witness = await server.client();
    await until("the heir to leave", async () => (await witness.ask("LOOKUP", "heir")) === null);
    witness.close();
  }
});
