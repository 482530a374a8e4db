// Keys in a user's segment: other clients compare them with the key of a client that claims to be that user on this
// host. Under a uid of its own: root only.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { canChangeUser } from "../helpers/privileges.ts";

const UID = 54_321;
const DIST = join(import.meta.dirname, "../../dist");
const PRELUDE = `
const { LocalUsers } = await import("${DIST}/client/local-users.js");
const { addOwnKey, keysOfUser } = await import("${DIST}/presence/local-keys.js");
const { MAX_KEYS } = await import("${DIST}/presence/local-layout.js");
const { LocalTable } = await import("${DIST}/presence/local-table.js");
const uid = ${UID};
const key = (n) => Buffer.alloc(32, n + 1);
const text = (n) => key(n).toString("base64");
const row = { name: "ann", tty: null, server: "127.0.0.1:1", address: "127.0.0.1", port: 1, startedAt: 1 };
const members = [];
const join = (n) => members.push(LocalTable.join({ ...row, lastMessageAt: null, sent: 0, received: 0 }, key(n)));
process.on("exit", () => members.forEach((member) => member.leave()));
`;

/** What the script gives, as that user. */
function asked(script: string, end: NodeJS.Signals | null = null): unknown {
  const args = ["--input-type=module", "-e", `${PRELUDE}${script}`];
  const { stdout, stderr, status, signal } = spawnSync(process.execPath, args, {
    ...{ uid: UID, gid: UID, encoding: "utf8", cwd: "/" },
    env: { PATH: process.env.PATH },
  });
  if (end === null ? status !== 0 : signal !== end) throw new Error(stderr);
  return JSON.parse(stdout);
}

describe.skipIf(!canChangeUser)("a user's segment (root only)", () => {
  it("shows each key once, of members and of programs that only send", () => {
    const shown = asked(`
      addOwnKey(key(7)); // without a segment there is nothing to contradict
      join(0), join(0), join(1);
      addOwnKey(key(2)), addOwnKey(key(2));
      console.log(JSON.stringify([...keysOfUser(uid)].map((key) => Buffer.from(key, "base64")[0] - 1)));`);
    expect(shown).toEqual([0, 1, 2]);
  });

  it("says nothing of more keys than fit", () => {
    const said = asked(`
      for (let n = 0; n <= MAX_KEYS; n++) join(n);
      const isImpostor = new LocalUsers().isImpostor({ name: "x", key: text(200), uid, isHere: true });
      console.log(JSON.stringify([keysOfUser(uid), isImpostor]));`);
    expect(said).toEqual([null, false]);
  });

  it("detects an impostor, and accepts a client whose user shows no keys", () => {
    const verdicts = asked(`
      const users = new LocalUsers();
      const is = (n, more) => users.isImpostor({ name: "x", isHere: true, uid, key: text(n), ...more });
      const verdicts = [is(9)];
      join(0);
      verdicts.push(is(0), is(9));
      addOwnKey(key(9));
      verdicts.push(is(9), is(8), is(8, { uid: 4_294_967_294 }), is(8, { uid: null }));
      console.log(JSON.stringify(verdicts));`);
    expect(verdicts).toEqual([false, false, true, false, true, false, false]);
  });

  it("that its owner cuts short says nothing, and ends no reader", () => {
    const shown = asked(
      `
      const { truncateSync, unlinkSync } = await import("node:fs");
      const { localTableName } = await import("${DIST}/presence/local-layout.js");
      join(0);
      const before = [...keysOfUser(uid)].length;
      members.length = 0; // whoever has mapped it must not touch it any more
      truncateSync("/dev/shm" + localTableName(uid, 0), 4096);
      console.log(JSON.stringify([before, keysOfUser(uid)]));
      for (const end of ["", ".lock"]) unlinkSync("/dev/shm" + localTableName(uid, 0) + end);
      process.kill(process.pid, "SIGKILL");`,
      "SIGKILL",
    );
    expect(shown).toEqual([1, null]);
  });
});
