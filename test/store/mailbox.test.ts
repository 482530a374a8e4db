// The mailbox by itself: what it keeps once, for whom it has room, who gets what. Kills are in test/crash/mailbox.test.ts.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { Mailbox, type NewLeft } from "../../lib/store/mailbox.ts";

let folder: string;
let mailbox: Mailbox;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "ptalk-mailbox-"));
  mailbox = await Mailbox.open(folder, { bytes: 100_000, ageMs: 86_400_000 });
});
afterEach(async () => {
  await mailbox.close();
  rmSync(folder, { recursive: true });
});

const left = (id: string, more: Partial<NewLeft> = {}): NewLeft => ({
  ...{ to: "bob", id, from: "key", account: "uid 1000", attested: true, receipt: false, bytes: Buffer.from(id) },
  ...more,
});
const files = () => readdirSync(join(folder, "new"));

it("keeps what is left again once, also while it is being written", async () => {
  const times = await Promise.all([mailbox.leave(left("1")), mailbox.leave(left("1")), mailbox.leave(left("2"))]);
  expect(times[0]).toBe(times[1]);
  expect(await mailbox.leave(left("1"))).toBe(times[0]);
  expect(files()).toHaveLength(2);
  expect(mailbox.waiting("bob")).toBe(2);
  // Another sender's id, and another recipient's, are other messages.
  await Promise.all([mailbox.leave(left("1", { from: "other" })), mailbox.leave(left("1", { to: "carol" }))]);
  expect(files()).toHaveLength(4);
});

it("has no more room for one account than its share, and evicts nothing for it", async () => {
  const big = (id: string, more?: Partial<NewLeft>) =>
    mailbox.leave(left(id, { bytes: Buffer.alloc(20_000), ...more }));
  const kept: unknown[] = [];
  for (let i = 0; i < 6; i++) kept.push(await big(`${i}`));
  expect(kept).toContain(null);
  const stored = files().length;
  expect(await big("other", { account: "uid 1001" })).not.toBeNull();
  expect(await big("stranger", { account: "192.0.2.1", attested: false })).toBeNull(); // a tenth for all of those
  expect(files()).toHaveLength(stored + 1);
});

it("leases a message to one connection; what is not done comes back, marked", async () => {
  for (const id of ["1", "2"]) await mailbox.leave(left(id));
  const taken = await mailbox.take("bob", "a", 10);
  expect(taken.map(({ bytes, again }) => [String(bytes), again])).toEqual([
    ["1", false],
    ["2", false],
  ]);
  expect(await mailbox.take("bob", "b", 10)).toEqual([]);
  await mailbox.done("b", [taken[0]?.name ?? ""]); // not its own
  await mailbox.done("a", [taken[0]?.name ?? ""]);
  mailbox.release((lease) => lease === "a");
  expect((await mailbox.take("bob", "b", 10)).map(({ bytes, again }) => [String(bytes), again])).toEqual([["2", true]]);
});
