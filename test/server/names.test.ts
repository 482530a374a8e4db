// What binds a name to a key, what does not, and what is when there is no room.
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { NAMES_PER_KEY, UNUSED_DAYS } from "../../lib/directory/name-ownership.ts";
import { NAME_LOG_HEADER, nameLine, readNameLine } from "../../lib/directory/shm/name-log.ts";
import { LookupServer } from "../../lib/index.ts";
import {
  Client,
  freshStateDir,
  type Keys,
  newKeys,
  type Registering,
  ServerProcess,
} from "../helpers/lookup-server.ts";

let state: ReturnType<typeof freshStateDir>;
let server: LookupServer | null = null;
let warnings: string[] = [];
beforeEach(() => {
  state = freshStateDir();
  warnings = [];
});
afterEach(async () => {
  await server?.stop();
  server = null;
  state.remove();
});

interface Starting {
  readonly directory?: "memory" | "shm";
  readonly names?: number;
  readonly capacity?: number;
}

async function start({ directory = "shm", names, capacity = 4096 }: Starting = {}): Promise<void> {
  const warn = (event: string) => warnings.push(event);
  server = await LookupServer.start({
    listen: "127.0.0.1:0",
    workers: 0,
    directory,
    capacity,
    stateDir: state.path,
    limits: names === undefined ? {} : { names },
    log: { error() {}, warn, info() {} },
  });
}

/** Registers and leaves. */
async function visit(name: string, keys: Keys, options: Registering = {}): Promise<unknown> {
  const client = await Client.connect(server?.port as number);
  const reply = await client.register(name, keys, options);
  if (reply === "OK") await client.ask("UNREGISTER");
  client.close();
  return reply;
}

async function ownerOf(name: string): Promise<unknown> {
  const client = await Client.connect(server?.port as number);
  const key = await client.ask("KEY", name);
  client.close();
  return key;
}

const namesFile = () => join(state.path, "server-names");
const lines = () =>
  readFileSync(namesFile(), "utf8")
    .split("\n")
    .flatMap((line) => readNameLine(line) ?? []);
const taken = expect.objectContaining({ code: "TAKEN" });
const full = expect.objectContaining({ code: "FULL" });

describe.each(["memory", "shm"] as const)("in %s a registration that is refused binds nothing:", (directory) => {
  it.each([
    ["a host that is too long", { host: "h".repeat(65) }],
    ["a host with control characters", { host: "a\u001b[2Jb" }],
  ])("%s", async (_what, options) => {
    await start({ directory });
    expect(await visit("carol", newKeys(), options)).toMatchObject({ code: "ERR" });
    expect(await ownerOf("carol")).toBeNull();
    if (directory === "shm") expect(lines()).toEqual([]);
    expect(await visit("carol", newKeys())).toBe("OK");
  });

  it("a full directory", async () => {
    await start({ directory, capacity: 1 });
    const client = await Client.connect(server?.port as number);
    await client.register("first", newKeys());
    expect(await visit("carol", newKeys())).toEqual(full);
    await client.ask("UNREGISTER");
    client.close();
    expect(await visit("carol", newKeys())).toBe("OK");
  });
});

const prlimit = (pid: number, soft: number | "unlimited") =>
  spawnSync("prlimit", ["--pid", String(pid), `--fsize=${soft}:unlimited`]).status === 0;

it.skipIf(!prlimit(process.pid, "unlimited"))("a name that cannot be written down is not on, either", async () => {
  const own = await ServerProcess.start(["--workers", "1", "--state-dir", state.path]);
  const client = await own.client();
  const pid = Number(/pid=(\d+)/.exec((await client.ask("INFO")) as string)?.[1]);
  // As on a full disk: no file of the worker may become longer.
  prlimit(pid, readFileSync(namesFile()).length);
  expect(await client.register("carol", newKeys())).toMatchObject({ code: "ERR" });
  expect(await client.ask("LOOKUP", "carol")).toBeNull();
  prlimit(pid, "unlimited");
  expect(await client.register("carol", newKeys())).toBe("OK");
  await own.stop();
});

it.each(["memory", "shm"] as const)(
  `in %s ${NAMES_PER_KEY} names belong to a key; further ones of the same day while it is on`,
  async (directory) => {
    await start({ directory });
    const keys = newKeys();
    for (let i = 0; i < NAMES_PER_KEY + 1; i++) expect(await visit(`name${i}`, keys)).toBe("OK");
    expect(await ownerOf(`name${NAMES_PER_KEY}`)).toBeNull();
    expect(await visit("name0", newKeys())).toEqual(taken);
    expect(await visit(`name${NAMES_PER_KEY - 1}`, newKeys())).toEqual(taken);
    const client = await Client.connect(server?.port as number);
    expect(await client.claim("more", keys)).toBe("OK");
    expect(await client.ask("KEY", "more")).toBeNull();
    expect(await client.register("more", keys)).toBe("OK");
    expect(await visit("more", newKeys())).toEqual(taken);
    await client.ask("UNREGISTER");
    client.close();
    const others = newKeys();
    expect(await visit("more", others)).toBe("OK");
    expect(await ownerOf("more")).toBe(others.key);
  },
);

it("on another day the name that the key has not used for longest gives way to its new one", async () => {
  await start();
  const keys = newKeys();
  for (let i = 0; i < NAMES_PER_KEY; i++) expect(await visit(`name${i}`, keys)).toBe("OK");
  await server?.stop();
  const older = lines().map((line, i) => nameLine({ ...line, day: line.day - (i < 2 ? 1 : 0) }));
  writeFileSync(namesFile(), NAME_LOG_HEADER + older.join(""));
  await start();
  for (const name of ["a", "b", "c"]) expect(await visit(name, keys)).toBe("OK");
  for (const name of ["a", "b", "name2"]) expect(await visit(name, newKeys())).toEqual(taken);
  await server?.stop();
  await start(); // the same after a restart
  for (const name of ["a", "b", "name2"]) expect(await visit(name, newKeys())).toEqual(taken);
  for (const name of ["c", "name0", "name1"]) expect(await visit(name, newKeys())).toBe("OK");
});

it("when there is no room, names that nobody has used for long give way; otherwise the error says what to do", async () => {
  await start({ names: 3 });
  const keys = [newKeys(), newKeys(), newKeys()] as const;
  for (const [i, key] of keys.entries()) expect(await visit(`old${i}`, key)).toBe("OK");
  expect(warnings.filter((event) => event.startsWith("nearly all names"))).toHaveLength(1);
  const refused = await visit("new", newKeys());
  expect(refused).toEqual(full);
  expect((refused as Error).message).toMatch(/remembers 3 names .* ask whoever runs the server/);
  expect(await visit("old1", keys[1])).toBe("OK");
  await server?.stop();
  const aged = lines().map((line) => nameLine({ ...line, day: line.day - UNUSED_DAYS }));
  writeFileSync(namesFile(), NAME_LOG_HEADER + aged.join(""));
  await start({ names: 3 });
  expect(await visit("old0", keys[0])).toBe("OK"); // and so it is in use again
  expect(await visit("new", newKeys())).toBe("OK");
  expect(await visit("old0", newKeys())).toEqual(taken);
  expect(await visit("old2", newKeys())).toEqual(taken);
  await server?.stop();
  await start({ names: 3 });
  // The same after a restart: old1 is what gave way.
  expect(await visit("new", newKeys())).toEqual(taken);
  expect(await visit("old2", newKeys())).toEqual(taken);
  expect(await visit("old1", newKeys())).toBe("OK");
});
