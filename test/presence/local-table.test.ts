import { execFileSync } from "node:child_process";
import {
  chownSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, describe, expect, it, vi } from "vitest";
import { processIdentity } from "../../lib/ipc/index.ts";
import { decodeRow, encodeRow, type OwnedLocalEntry } from "../../lib/presence/local-entry.ts";
import {
  LOCAL_BYTES,
  LOCAL_HEADER,
  LOCAL_HEADER_BYTES,
  LOCAL_ROWS,
  ROW,
  ROW_BYTES,
} from "../../lib/presence/local-layout.ts";
import { listLocal } from "../../lib/presence/local-list.ts";
import { anchorName, LocalTable } from "../../lib/presence/local-table.ts";
import { filesOf, freshUid, isRoot, NEEDS_ROOT, sweepUsers } from "../directory/shm/support/users.ts";
import { descriptorsOf } from "../helpers/own-process.ts";
import { Program } from "../helpers/program.ts";

const FIXTURE = join(import.meta.dirname, "../fixtures/table/local-member.js");
const PRESENCE = join(import.meta.dirname, "../fixtures/table/local-presence.js");
const WATCHDOG = { timeout: 20_000, interval: 50 };
const own = process.geteuid?.() ?? -1;
const row = {
  name: `me-${process.pid}`,
  tty: "/dev/pts/3",
  server: "talk.example:5518",
  address: "fd00::1",
  port: 4711,
  startedAt: 1_790_000_000_000,
  lastMessageAt: null,
  sent: 0,
  received: 0,
};

afterAll(sweepUsers);

const mine = () => listLocal().filter((entry) => entry.pid === process.pid);
const of = (uid: number) => listLocal().filter((entry) => entry.uid === uid);

async function member(uid: number, name: string): Promise<Program> {
  const program = new Program(process.execPath, [FIXTURE, String(uid), name]);
  expect(await program.line()).toMatch(/^joined/);
  return program;
}

async function tell(program: Program, order: string): Promise<void> {
  program.child.stdin?.write(`${order}\n`);
  expect(await program.line()).toBe(`done ${order}`);
}

async function kill(program: Program): Promise<void> {
  program.child.kill("SIGKILL");
  await program.ended;
}

describe.skipIf(!isRoot)(`clients whose user's objects another program removes (${NEEDS_ROOT})`, () => {
  it("are listed again, with what they had counted, and leave nothing behind", async () => {
    const uid = freshUid();
    const clients = await Promise.all(
      ["ann", "bob"].map(async (name) => {
        const client = new Program(process.execPath, [PRESENCE, String(uid), name]);
        expect(await client.line()).toBe("joined");
        return client;
      }),
    );
    for (const file of filesOf(uid)) rmSync(join("/dev/shm", file));
    expect(of(uid)).toEqual([]);
    await vi.waitFor(() => expect(of(uid).map(({ name }) => name)).toEqual(["ann", "bob"]), WATCHDOG);
    expect(of(uid)).toMatchObject([{ sent: 1 }, { sent: 1 }]);
    for (const client of clients) {
      client.child.stdin?.end();
      await client.ended;
    }
    expect(filesOf(uid)).toEqual([]);
  });
});

describe("a client of this user", () => {
  it("is listed while it is on, with what it says and what the kernel says", () => {
    const table = LocalTable.join(row);
    const user = execFileSync("id", ["-un"], { encoding: "utf8" }).trim();
    expect(mine()).toEqual([{ ...row, pid: process.pid, uid: own, user }]);
    table.update({ sent: 3, received: 4, lastMessageAt: 1_790_000_000_009, tty: null });
    expect(mine()).toMatchObject([
      { sent: 3, received: 4, lastMessageAt: 1_790_000_000_009, tty: null, name: row.name },
    ]);
    const second = LocalTable.join({ ...row, name: `${row.name}-2` });
    expect(mine().map((entry) => entry.name)).toEqual([row.name, `${row.name}-2`]);
    table.leave();
    table.leave();
    expect(mine().map((entry) => entry.name)).toEqual([`${row.name}-2`]);
    expect(() => table.update({ sent: 1 })).toThrow(expect.objectContaining({ code: "EBADF" }));
    second.leave();
    expect(mine()).toEqual([]);
  });

  it("has a segment that all may read and only it may write, and a lock object of its own", () => {
    const before = process.umask(0o077);
    const table = LocalTable.join(row);
    process.umask(before);
    expect(statSync(`/dev/shm${table.name}`).mode & 0o777).toBe(0o644);
    expect(statSync(`/dev/shm${anchorName(table.name)}`).mode & 0o777).toBe(0o600);
    table.leave();
  });

  it("is refused with bad data, naming the field, before anything is made", () => {
    const bad: Record<string, unknown[]> = {
      name: ["", "all", "-x"],
      tty: ["a b", "x".repeat(65)],
      server: ["", "a\u001b[m", "x".repeat(256)],
      address: ["localhost", "fe80::1%lo"],
      port: [0, 65536, 0.5],
      startedAt: [-1, Number.NaN],
      lastMessageAt: [-1],
      sent: [-1, 2 ** 53],
      received: [1.5],
    };
    for (const [field, values] of Object.entries(bad)) {
      for (const value of values) {
        const code = field === "name" ? "bad-name" : "bad-data";
        const thrown = expect.objectContaining({
          code,
          message: expect.stringContaining(field === "name" ? "name" : field),
        });
        expect(() => LocalTable.join({ ...row, [field]: value }), `${field}=${value}`).toThrow(thrown);
      }
    }
    expect(mine()).toEqual([]);
  });

  it("leaves no descriptor behind", () => {
    const open = () => descriptorsOf("/dev/shm/ptalk-host-");
    const table = LocalTable.join(row);
    expect(open()).toBe(2);
    table.leave();
    for (let i = 0; i < 20; i++) LocalTable.join(row).leave();
    expect(open()).toBe(0);
  });
});

describe.skipIf(!isRoot)(`members of one user (${NEEDS_ROOT})`, () => {
  it("the last to leave takes the objects away, however the others ended", async () => {
    const uid = freshUid();
    const [ann, bob, carol] = [await member(uid, "ann"), await member(uid, "bob"), await member(uid, "carol")];
    expect(of(uid).map((entry) => [entry.name, entry.user])).toEqual(
      ["ann", "bob", "carol"].map((name) => [name, `${uid}`]),
    );
    await tell(bob, "update");
    expect(of(uid)[1]).toMatchObject({ name: "bob", sent: 7, received: 8, pid: bob.pid });
    await kill(ann);
    expect(of(uid).map((entry) => entry.name)).toEqual(["bob", "carol"]);
    await tell(bob, "leave");
    expect(filesOf(uid)).toEqual([`ptalk-host-${uid}`, `ptalk-host-${uid}.lock`]);
    await tell(carol, "leave");
    expect(filesOf(uid)).toEqual([]);
    await Promise.all([kill(bob), kill(carol)]);
  });

  it("the next one cleans up after all were killed, and shows none of them", async () => {
    const uid = freshUid();
    const first = await Promise.all(["a1", "a2", "a3"].map((name) => member(uid, name)));
    await Promise.all(first.map(kill));
    expect(of(uid)).toEqual([]);
    expect(filesOf(uid).length).toBe(2);
    const next = await member(uid, "next");
    expect(of(uid).map((entry) => entry.name)).toEqual(["next"]);
    await tell(next, "leave");
    expect(filesOf(uid)).toEqual([]);
    await kill(next);
  });

  it("a stopped member is alive", async () => {
    const uid = freshUid();
    const stopped = await member(uid, "stopped");
    stopped.child.kill("SIGSTOP");
    const other = await member(uid, "other");
    await tell(other, "leave");
    expect(of(uid).map((entry) => entry.name)).toEqual(["stopped"]);
    await Promise.all([kill(stopped), kill(other)]);
  });

  it("goes to another name when somebody else's object sits on the first, and is listed from there", async () => {
    for (const squat of ["", ".lock"]) {
      const uid = freshUid();
      writeFileSync(`/dev/shm/ptalk-host-${uid}${squat}`, "mine", { mode: 0o666 });
      const ann = await member(uid, "ann");
      expect(of(uid).map((entry) => entry.name)).toEqual(["ann"]);
      await tell(ann, "leave");
      expect(filesOf(uid)).toEqual([`ptalk-host-${uid}${squat}`]);
      await kill(ann);
    }
  });

  it("survives lock and data objects that a crash left without a size or with garbage", async () => {
    const uid = freshUid();
    for (const [suffix, bytes] of [
      ["", "garbage"],
      [".lock", ""],
      ["", ""],
    ] as const) {
      const file = `/dev/shm/ptalk-host-${uid}${suffix}`;
      writeFileSync(file, bytes, { mode: 0o600 });
      chownSync(file, uid, 0);
      const ann = await member(uid, "ann");
      expect(of(uid).map((entry) => entry.name)).toEqual(["ann"]);
      await tell(ann, "leave");
      expect(filesOf(uid)).toEqual([]);
      await kill(ann);
    }
  });
});

describe.skipIf(!isRoot)(`hostile segments (${NEEDS_ROOT})`, () => {
  /** A segment of that name and owner, holding one row. */
  function forge(uid: number, owner: number, forged: OwnedLocalEntry, usedRows = 1): string {
    const file = `/dev/shm/ptalk-host-${uid}`;
    const words = new Int32Array(LOCAL_BYTES / 4);
    words[LOCAL_HEADER.magic] = 0x4c6b_7470;
    words[LOCAL_HEADER.layoutVersion] = 1;
    words[LOCAL_HEADER.usedRows] = usedRows;
    words.set(encodeRow(forged), LOCAL_HEADER_BYTES / 4);
    writeFileSync(file, words);
    chownSync(file, owner, 0);
    return file;
  }

  it("cannot show a row as another user's, nor another user's process, nor a dead or different one", async () => {
    const [victim, attacker] = [freshUid(), freshUid()];
    const process_ = await member(victim, "victim");
    const identity = processIdentity(process_.pid);
    if (!identity) throw new Error("no identity");
    forge(attacker, attacker, { ...row, ...identity });
    expect(of(attacker)).toEqual([]);
    await tell(process_, "leave");
    forge(victim, attacker, { ...row, ...identity });
    expect(listLocal().filter((entry) => entry.uid === victim || entry.uid === attacker)).toEqual([]);
    forge(victim, victim, { ...row, ...identity, startTime: identity.startTime + 1 });
    expect(of(victim)).toEqual([]);
    forge(victim, victim, { ...row, ...identity });
    expect(of(victim).length).toBe(1); // the same bytes by the user itself are its own affair
    await kill(process_);
    expect(of(victim)).toEqual([]);
  });

  it("of any kind and size never stop the list", () => {
    const self = LocalTable.join(row);
    const identity = processIdentity();
    if (!identity) throw new Error("no identity");
    const file = (uid: number) => `/dev/shm/ptalk-host-${uid}`;
    execFileSync("mkfifo", [file(freshUid())]);
    mkdirSync(file(freshUid()));
    symlinkSync("/dev/zero", file(freshUid()));
    symlinkSync(`/dev/shm${self.name}`, file(freshUid()));
    const huge = freshUid();
    writeFileSync(file(huge), "");
    truncateSync(file(huge), 2 ** 40);
    chownSync(file(huge), huge, 0);
    const many = freshUid();
    forge(many, many, { ...row, ...identity }, 2 ** 31 - 1);
    const short = freshUid();
    truncateSync(forge(short, short, { ...row, ...identity }), 1000);
    for (const odd of ["ptalk-host-", "ptalk-host-x", "ptalk-host-00", "ptalk-host-1e3", "ptalk-host-99999999999"]) {
      writeFileSync(`/dev/shm/${odd}`, "x");
      execFileSync("rm", [`/dev/shm/${odd}`]);
    }
    expect(mine().map((entry) => entry.name)).toEqual([row.name]);
    self.leave();
  });

  it("of random bytes show only rows that make sense", () => {
    const uid = freshUid();
    const identity = processIdentity();
    if (!identity) throw new Error("no identity");
    const file = forge(uid, uid, { ...row, ...identity }, LOCAL_ROWS);
    const good = readFileSync(file);
    const fd = openSync(file, "r+");
    let seed = 7;
    const random = (limit: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 4) % limit;
    };
    for (let round = 0; round < 300; round++) {
      const bytes = Buffer.from(good);
      for (let i = 0; i < 1 + random(200); i++) bytes[random(LOCAL_HEADER_BYTES + 3 * ROW_BYTES)] = random(256);
      writeSync(fd, bytes, 0, LOCAL_HEADER_BYTES + 3 * ROW_BYTES, 0);
      for (const entry of of(uid)) expect(Number.isSafeInteger(entry.sent)).toBe(true);
    }
  });
});

describe("a row's bytes", () => {
  it("come back as they went in, and hostile ones as nothing or as sane values (200,000 rows)", () => {
    const owned = { ...row, pid: 5, startTime: 77 };
    expect(decodeRow(encodeRow(owned))).toEqual(owned);
    const good = encodeRow(owned);
    let seed = 99;
    const random = () => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return seed;
    };
    for (let i = 0; i < 200_000; i++) {
      const words = good.slice();
      for (let n = 0; n <= random() % 4; n++) words[random() % (ROW.text + 30)] = random() | 0;
      const decoded = decodeRow(words);
      if (decoded === null) continue;
      new Date(decoded.startedAt).toISOString();
      if (decoded.lastMessageAt !== null) new Date(decoded.lastMessageAt).toISOString();
      if (/[^!-~]/.test(decoded.server) || decoded.port < 1 || decoded.port > 65535) expect.fail("insane");
    }
  });
});

/** Lists what an ordinary user sees whose /proc hides the processes of others. */
function listedUnderHidepid(option: string, uid: number): { uid: number; name: string }[] {
  const list = pathToFileURL(join(import.meta.dirname, "../../dist/presence/local-list.js"));
  const script = `import { listLocal } from ${JSON.stringify(list)}; console.log(JSON.stringify(listLocal()));`;
  const inside = `mount -t proc -o ${option} proc /proc && exec setpriv --reuid ${uid} --regid ${uid} --clear-groups "$@"`;
  const node = [process.execPath, "--input-type=module", "-e", script];
  return JSON.parse(execFileSync("unshare", ["-m", "sh", "-c", inside, "sh", ...node], { encoding: "utf8" }));
}

describe.skipIf(!isRoot)(`where /proc hides the processes of others (${NEEDS_ROOT})`, () => {
  it.each(["hidepid=1", "hidepid=2"])("%s: the living of other users are listed, the dead are not", async (option) => {
    const [uid, watcher] = [freshUid(), freshUid()];
    const [ann, bob] = [await member(uid, "ann"), await member(uid, "bob")];
    await kill(ann);
    const names = () =>
      listedUnderHidepid(option, watcher)
        .filter((entry) => entry.uid === uid)
        .map(({ name }) => name);
    expect(names()).toEqual(["bob"]);
    await kill(bob);
    expect(names()).toEqual([]);
  });
});
