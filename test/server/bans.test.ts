// `server-bans`: an administrator's bans outlive the server, and are never lost without a word.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { Administration } from "../../lib/server/administration.ts";
import { silentLog } from "../../lib/server/log.ts";
import { freshStateDir } from "../helpers/lookup-server.ts";

let state: ReturnType<typeof freshStateDir>;
let logged: string[];
beforeEach(() => {
  state = freshStateDir();
  logged = [];
});
afterEach(() => state.remove());

const path = (): string => join(state.path, "server-bans");
const root = { worker: 0, connection: 1, uid: 0 };

function administration(): Administration {
  const note = (event: string) => void logged.push(event);
  return new Administration({
    ...{ admins: [], owner: null, folder: state.path, log: { ...silentLog, error: note, warn: note } },
    ...{ find: async () => ({ is: "no" }), clients: async () => [], remove: async () => 0 },
    ...{ broadcast: () => {}, drain: () => {} },
  });
}

it("keeps all bans of administrators that ban at the same time", async () => {
  const before = administration();
  const targets = Array.from({ length: 20 }, (_, i) => String(1000 + i));
  const answers = targets.map((target) => before.answer(root, { op: "ban", target, seconds: 3600 }));
  expect(await Promise.all(answers)).toEqual(targets.map(() => ({ is: "done", count: 0 })));
  expect(logged.filter((event) => event !== "banned")).toEqual([]);
  expect(administration().bans.list.map(({ target }) => target)).toEqual(targets);
});

it("says nothing of a file that is not there, and names one that is damaged", () => {
  expect(administration().bans.list).toEqual([]);
  expect(logged).toEqual([]);
  const ban = { target: "1001", until: Date.now() + 3_600_000, by: "root (uid 0)" };
  const whole = JSON.stringify([ban]);
  for (const text of ["", whole.slice(0, -3), `${whole}]`, "{}", "null"]) {
    logged = [];
    writeFileSync(path(), text);
    expect(administration().bans.list).toEqual([]);
    expect(logged).toHaveLength(1);
    expect(readFileSync(path(), "utf8")).toBe(text); // left for the administrator to read
  }
});

it("keeps the bans of a damaged file that can be read, and says that there were more", () => {
  const ban = { target: "1001", until: Date.now() + 3_600_000, by: "root (uid 0)" };
  writeFileSync(path(), JSON.stringify([ban, { target: 1002 }]));
  expect(administration().bans.list).toEqual([ban]);
  expect(logged).toEqual(["the file of the bans is damaged, and some do not hold"]);
});
