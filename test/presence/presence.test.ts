// A client's row over what others do to its table: removed from outside, full.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { LOCAL_ROWS } from "../../lib/presence/local-layout.ts";
import { listLocal } from "../../lib/presence/local-list.ts";
import { anchorName } from "../../lib/presence/local-table.ts";
import { filesOf, freshUid, isRoot, NEEDS_ROOT, sweepUsers } from "../directory/shm/support/users.ts";
import { until } from "../helpers/lookup-server.ts";
import { Program } from "../helpers/program.ts";

const FIXTURE = join(import.meta.dirname, "../fixtures/table/local-presences.js");
const programs: Program[] = [];

afterEach(async () => {
  await Promise.all(programs.splice(0).map((program) => program.end()));
});
afterAll(sweepUsers);

/** A program of that user with so many clients. */
async function present(uid: number, name: string, count = 1): Promise<Program> {
  const program = new Program(process.execPath, [FIXTURE, String(uid), name, String(count)]);
  programs.push(program);
  expect(await program.line()).toBe("joined");
  return program;
}

const listed = (uid: number) => listLocal().filter((entry) => entry.uid === uid);
const namesOf = (uid: number) => listed(uid).map((entry) => entry.name);
const unlink = (name: string) => rmSync(`/dev/shm${name}`, { force: true });

describe.skipIf(!isRoot)(`a user's clients (${NEEDS_ROOT})`, () => {
  it.each([
    ["the rows", (name: string) => unlink(name)],
    ["the lock object", (name: string) => unlink(anchorName(name))],
    [
      "both",
      (name: string) => {
        unlink(name);
        unlink(anchorName(name));
      },
    ],
  ])("are listed again, with their counts, after somebody has unlinked %s", async (_what, remove) => {
    const uid = freshUid();
    const [alice] = [await present(uid, "alice"), await present(uid, "bob")];
    expect(await alice.ask("sent")).toBe("done sent");
    expect(await alice.ask("received")).toBe("done received");
    expect(await alice.ask("received")).toBe("done received");
    await until("the counts", () => listed(uid)[0]?.sent === 1 && listed(uid)[0]?.received === 2);
    remove(`/ptalk-host-${uid}`);
    // Each client notices for itself: a third one that comes meanwhile meets them in the same table.
    await present(uid, "carol");
    await until("all three", () => namesOf(uid).length === 3);
    expect(namesOf(uid)).toEqual(["alice", "bob", "carol"]);
    expect(listed(uid)[0]).toMatchObject({ sent: 1, received: 2, lastMessageAt: expect.any(Number) });
    expect(await alice.ask("sent")).toBe("done sent");
    await until("the next count", () => listed(uid)[0]?.sent === 2);
    await Promise.all(programs.splice(0).map((program) => program.end()));
    expect(filesOf(uid)).toEqual([]); // the last one that leaves still removes the objects
  });

  it("beyond the table's rows are warned of once for a program, and listed when there is room", async () => {
    const uid = freshUid();
    const most = await present(uid, "most", LOCAL_ROWS - 1);
    const rest = await present(uid, "rest", 3);
    await until("a full table", () => namesOf(uid).length === LOCAL_ROWS);
    await most.end();
    await until("the others", () => namesOf(uid).length === 3);
    expect(namesOf(uid)).toEqual(["rest0", "rest1", "rest2"]);
    const { stderr } = await rest.end();
    expect(stderr.match(/is not shown by List/g)).toHaveLength(1);
  });
});
