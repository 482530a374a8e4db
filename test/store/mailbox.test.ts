// The mailbox by itself: what it keeps once, for whom it has room, who gets what. Kills are in test/crash/mailbox.test.ts.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Mailbox, type NewLeft } from "../../lib/store/mailbox.ts";

const LIMITS = { bytes: 100_000, ageMs: 86_400_000 };

let folder: string;
let mailbox: Mailbox;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "ptalk-mailbox-"));
  mailbox = await Mailbox.open(folder, { limits: LIMITS });
});
afterEach(async () => {
  await mailbox.close();
  rmSync(folder, { recursive: true });
});

const left = (id: string, more: Partial<NewLeft> = {}): NewLeft => ({
  ...{ to: "bob", id, from: "key", sender: "alice", account: "uid 1000", attested: true, receipt: false },
  bytes: Buffer.from(id),
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

it("marks what comes from another mailbox, where it may have been shown, and gives it to its recipient then", async () => {
  await mailbox.leave(left("1"));
  const carried = { at: 1_790_000_000_000, again: true };
  const [at] = await Promise.all([mailbox.leave(left("1"), carried), mailbox.leave(left("2"), carried)]);
  expect(at).not.toBe(carried.at); // it was here before
  expect(mailbox.waiting("bob")).toBe(2);
  const taken = await mailbox.take("bob", "a", 10);
  expect(taken.map(({ bytes, again, at }) => [String(bytes), again, at])).toEqual([
    ["1", true, at],
    ["2", true, carried.at],
  ]);
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

it("1,000 messages left while others are taken all arrive, once, in the order of each sender", async () => {
  await mailbox.close();
  mailbox = await Mailbox.open(folder, { limits: { bytes: 2 ** 26, ageMs: LIMITS.ageMs } });
  const SENDERS = 4;
  const EACH = 250;
  const leaving = Array.from({ length: SENDERS }, async (_, sender) => {
    for (let i = 0; i < EACH; i++) await mailbox.leave(left(`${sender}:${i}`, { from: `key ${sender}` }));
  });
  let isOver = false;
  void Promise.all(leaving).then(() => {
    isOver = true;
  });
  const shown: string[] = [];
  for (let round = 0; ; round++) {
    const wasOver = isOver;
    const lease = `1:${round}`;
    const taken = await mailbox.take("bob", lease, 16);
    for (const { bytes } of taken) shown.push(String(bytes));
    await mailbox.done(
      lease,
      taken.map(({ name }) => name),
    );
    if (taken.length === 0 && wasOver) break;
    if (taken.length === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  expect(shown).toHaveLength(SENDERS * EACH);
  for (let sender = 0; sender < SENDERS; sender++) {
    const own = shown.filter((id) => id.startsWith(`${sender}:`));
    expect(own).toEqual(Array.from({ length: EACH }, (_, i) => `${sender}:${i}`));
  }
  expect(files()).toEqual([]);
});

describe("receipts of what is discarded", () => {
  const receiptFor = ({ id, sender, to, account }: Omit<NewLeft, "bytes">, why: string): NewLeft =>
    left(`${id} ${to}`, { to: sender, from: "server", sender: "", account, receipt: true, bytes: Buffer.from(why) });
  const reopened = async (ageMs: number, bytes = LIMITS.bytes): Promise<string[]> => {
    const told: string[] = [];
    await mailbox.close();
    const onReceipt = (to: string): void => void told.push(to);
    mailbox = await Mailbox.open(folder, { limits: { bytes, ageMs }, receiptFor, onReceipt });
    return told;
  };

  it("an expired message leaves one; that one leaves none when it expires", async () => {
    await mailbox.leave(left("1"));
    await mailbox.leave(left("1", { to: "carol" })); // the same id, to another one
    await mailbox.leave(left("2", { sender: "" })); // nobody to tell
    await sleepPast();
    expect(await reopened(1)).toEqual(["alice", "alice"]);
    expect(mailbox.waiting("bob")).toBe(0);
    const receipts = await mailbox.take("alice", "a", 10);
    expect(receipts.map(({ bytes }) => String(bytes))).toEqual(["expired", "expired"]);
    mailbox.release(() => true);
    await sleepPast();
    expect(await reopened(1)).toEqual([]);
    expect(files()).toEqual([]);
  });

  it("one that its recipient cannot open leaves one; a receipt that cannot be opened leaves none", async () => {
    await reopened(LIMITS.ageMs);
    await mailbox.leave(left("1"));
    const [taken] = await mailbox.take("bob", "b", 1);
    await mailbox.done("b", [taken?.name ?? ""], true);
    const [receipt] = await mailbox.take("alice", "a", 1);
    expect(String(receipt?.bytes)).toBe("lost-key");
    await mailbox.done("a", [receipt?.name ?? ""], true);
    expect(files()).toEqual([]);
  });

  it("have a bound of their own, one account a quarter of it, and take no room of messages", async () => {
    const receipt = (id: string, account: string) =>
      mailbox.leave(left(id, { account, receipt: true, bytes: Buffer.alloc(100) }));
    const kept = async (account: string): Promise<number> => {
      let count = 0;
      while ((await receipt(`${account} ${count}`, account)) !== null) count++;
      return count;
    };
    const counts = [
      await kept("uid 1"),
      await kept("uid 2"),
      await kept("uid 3"),
      await kept("uid 4"),
      await kept("uid 5"),
    ];
    expect(counts[0]).toBeGreaterThan(0);
    expect(counts.slice(0, 4)).toEqual(Array(4).fill(counts[0]));
    expect(counts[4]).toBe(0);
    const room = await reopened(LIMITS.ageMs); // what is there is charged again
    expect(room).toEqual([]);
    expect(await receipt("one more", "uid 5")).toBeNull();
    expect(await mailbox.leave(left("text"))).not.toBeNull();
  });

  it("a message goes, though there is no room for its receipt", async () => {
    await mailbox.leave(left("1"));
    await sleepPast();
    await reopened(1, 1000);
    expect(files()).toEqual([]);
  });
});

/** Until what was left before is older than a millisecond. */
async function sleepPast(): Promise<void> {
  const at = Date.now();
  while (Date.now() < at + 3) await new Promise((resolve) => setTimeout(resolve, 1));
}
