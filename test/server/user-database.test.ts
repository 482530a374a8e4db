// The host's user database: a service that is away or hangs is no "no such user", and holds nothing up.
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { nameOfLogin } from "../../lib/base/login-names.ts";
import { silentLog } from "../../lib/server/log.ts";
import { rightTo } from "../../lib/server/name-rights.ts";
import { type Account, passwdServices, UserDatabase } from "../../lib/server/user-database.ts";
import { compile, compiler } from "../helpers/compile.ts";

const open: UserDatabase[] = [];
afterEach(() => {
  for (const database of open.splice(0)) database.close();
});

function database(services: string, env: NodeJS.ProcessEnv = {}): UserDatabase {
  const switchFile = join(folder, "nsswitch.conf");
  writeFileSync(switchFile, `# the host's own\npasswd: ${services}\ngroup: files\n`);
  const made = new UserDatabase({ log: silentLog, switchFile, env: { ...process.env, ...env } });
  open.push(made);
  return made;
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ptalk-nss-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

it("knows the accounts of the host, by login and by uid", async () => {
  const users = database("files");
  expect(await users.find("root")).toEqual({ is: "yes", uid: 0, login: "root" });
  expect(await users.find(0)).toEqual({ is: "yes", uid: 0, login: "root" });
  expect(await users.find("no-such-user-here")).toEqual({ is: "no" });
  expect(await users.find(4_294_967_294)).toEqual({ is: "no" });
});

it("takes a service without a module for one without accounts", async () => {
  expect(await database("files nosuchservice").find("no-such-user-here")).toEqual({ is: "no" });
});

describe.skipIf(compiler === null)("a service of its own (needs a C compiler)", () => {
  let library: { program: string; remove: () => void };
  beforeAll(() => {
    library = compile(join(import.meta.dirname, "../fixtures/users/libnss_ptalktest.c"), { library: true });
    renameSync(library.program, join(folder, "libnss_ptalktest.so.2"));
  });
  afterAll(() => library.remove());

  const asked = (mood: string) => database("files ptalktest", { LD_LIBRARY_PATH: folder, PTALK_NSS: mood });

  it("that has the user says yes", async () => {
    expect(await asked("yes").find("ghost")).toEqual({ is: "yes", uid: 4200, login: "ghost" });
  });

  it("that has not says no", async () => {
    expect(await asked("no").find("ghost")).toEqual({ is: "no" });
  });

  it("that is away leaves it unknown, and logins that another service knows are known", async () => {
    const users = asked("away");
    expect(await users.find("ghost")).toEqual({ is: "unknown" });
    expect(await users.find("root")).toEqual({ is: "yes", uid: 0, login: "root" });
  });

  it("that hangs leaves it unknown, and is not waited for by each question", async () => {
    const users = asked("hung");
    expect(await users.find("ghost")).toEqual({ is: "unknown" });
    const many = Array.from({ length: 50 }, (_, i) => users.find(`user${i}`));
    expect(await Promise.all(many)).toEqual(many.map(() => ({ is: "unknown" })));
    expect(await users.find("root")).toEqual({ is: "yes", uid: 0, login: "root" });
  });
});

it.each([
  ["passwd: files systemd\n", ["files", "systemd"]],
  ["passwd:\tfiles [NOTFOUND=return] sss # comment\n", ["files", "sss"]],
  ["# passwd: ldap\ngroup: files\n", ["files"]],
  ["passwd:\n", ["files"]],
])("reads the services of %j", (text, services) => {
  expect(passwdServices(text)).toEqual(services);
});

describe("whose a name is", () => {
  const ACCOUNTS: Readonly<Record<string, number>> = {
    bob: 1000,
    Bob: 1001,
    "bob-2": 1002,
    "bob@ad.example": 1003,
    list: 1004,
  };
  const find = async (user: string | number): Promise<Account> => {
    const [login, uid] = Object.entries(ACCOUNTS).find(([name, id]) => user === name || user === id) ?? [];
    return login === undefined || uid === undefined ? { is: "no" } : { is: "yes", uid, login };
  };
  const ownerOf = async (name: string, uid: number | null = null, openNames = false) =>
    (await rightTo({ name, uid, openNames }, find)).owner;

  it("is said by the login of that spelling, the lower-case one first, and by what a login is mapped to", async () => {
    expect(await ownerOf("bob")).toEqual({ uid: 1000, login: "bob" });
    expect(await ownerOf("BOB")).toEqual({ uid: 1000, login: "bob" });
    expect(await ownerOf("bob-3")).toEqual({ uid: 1000, login: "bob" });
    expect(await ownerOf("bob-2")).toEqual({ uid: 1002, login: "bob-2" });
    expect(await ownerOf(nameOfLogin("bob@ad.example"))).toEqual({ uid: 1003, login: "bob@ad.example" });
    expect(await ownerOf(nameOfLogin("list"))).toEqual({ uid: 1004, login: "list" });
    for (const name of ["carol", "bob-", "bob-02", "bobby"]) expect(await ownerOf(name)).toBe("nobody");
  });

  it("is the same for every client; with open names a login is reserved only when its user asks", async () => {
    expect(await rightTo({ name: "bob", uid: 1000, openNames: false }, find)).toEqual({
      ...{ uid: 1000, login: "bob" },
      owner: { uid: 1000, login: "bob" },
    });
    expect(await ownerOf("Bob", 1001)).toEqual({ uid: 1000, login: "bob" });
    expect(await ownerOf("bob", 1001, true)).toBe("nobody");
    expect(await ownerOf("bob", 1000, true)).toEqual({ uid: 1000, login: "bob" });
  });

  it("is unknown when a service that could say so does not, but for the own login", async () => {
    const half = async (user: string | number): Promise<Account> =>
      user === 1000 ? { is: "yes", uid: 1000, login: "bob" } : { is: "unknown" };
    expect((await rightTo({ name: "carol", uid: 1000, openNames: false }, half)).owner).toBe("unknown");
    expect((await rightTo({ name: "bob", uid: 1000, openNames: false }, half)).owner).toEqual({
      uid: 1000,
      login: "bob",
    });
    expect((await rightTo({ name: "bob", uid: null, openNames: false }, half)).owner).toBe("unknown");
  });
});
