// When a server's writes leave for the engine, and in which company (session.ts): on an engine that answers by hand.
import { afterEach, beforeEach, expect, it } from "vitest";
import {
  type Engine,
  EngineError,
  type Transaction,
  type TransactionResult,
} from "../../../lib/directory/etcd/engine.ts";
import { Keys } from "../../../lib/directory/etcd/keys.ts";
import { Session, type WriteOutcome } from "../../../lib/directory/etcd/session.ts";
import { Random } from "../support/random.ts";
import { VirtualClock } from "./support/virtual-clock.ts";

interface Sent {
  readonly transaction: Transaction;
  answer(): void;
  fail(error: EngineError): void;
}

const keys = new Keys("/t");
const OWN = keys.server("s1", "i1");
/** Less than the time between two renewals. */
const A_MOMENT_MS = 100;
const PULSE_MS = 2_000;

let clock: VirtualClock;
let session: Session;
/** Transactions that wait for an answer, in the order in which they left. */
let open: Sent[];
let revision: number;

const row = (name: string) => keys.row(name);

function write(name: string): Promise<WriteOutcome> {
  const build = (): Transaction => ({
    when: [],
    then: [{ put: row(name), value: Buffer.alloc(1) }],
    otherwise: [{ get: row(name) }, { get: keys.owner(name) }],
  });
  return session.write({ folded: name, needsSession: true, build });
}

/** The keys that each of them may put. */
function putsOf({ then }: Transaction): string[] {
  return then.flatMap((one) => ("put" in one ? [one.put] : "transaction" in one ? putsOf(one.transaction) : []));
}
const puts = () => open.map(({ transaction }) => putsOf(transaction));

/** All compares hold, and no key has a value. */
function resultOf(transaction: Transaction): Pick<TransactionResult, "succeeded" | "results"> {
  const results = transaction.then.map((one) => {
    if ("transaction" in one) return { kind: "transaction" as const, ...resultOf(one.transaction) };
    return "get" in one ? { kind: "get" as const, value: null } : { kind: "put" as const };
  });
  return { succeeded: true, results };
}

beforeEach(async () => {
  [open, revision] = [[], 10];
  clock = new VirtualClock(new Random(1));
  const engine: Engine = {
    transact: (transaction) =>
      new Promise((resolve, reject) => {
        const sent: Sent = {
          transaction,
          answer: () => {
            open.splice(open.indexOf(sent), 1);
            resolve({ cluster: "1", revision: ++revision, ...resultOf(transaction) });
          },
          fail: (error) => {
            open.splice(open.indexOf(sent), 1);
            reject(error);
          },
        };
        open.push(sent);
      }),
    list: () => Promise.reject(new Error("nothing is listed here")),
    grantLease: () => Promise.resolve("1"),
    keepAlive: () => Promise.resolve(10),
    revokeLease: () => Promise.resolve(),
    watch: () => ({ [Symbol.dispose]() {} }),
    close() {},
  };
  const owner = { keys, server: "s1", value: () => Buffer.from("{}"), clock, newIncarnation: () => "i1" };
  session = new Session(engine, { ...owner, opened() {}, lost() {}, reachable() {}, refused() {} });
  const started = session.start();
  await clock.run(0);
  open[0]?.answer();
  await started;
  await clock.run(A_MOMENT_MS);
  open[0]?.answer(); // the first renewal
  await clock.run(A_MOMENT_MS);
  expect(open).toEqual([]);
});
afterEach(() => session.close());

it("a write leaves while the last one has no answer; those that come meanwhile leave together", async () => {
  const first = write("ann");
  await clock.run(0);
  const others = ["bob", "carol", "dave"].map(write);
  await clock.run(A_MOMENT_MS);
  // The second batch is what came together; further ones wait for one of the two answers.
  expect(puts()).toEqual([[row("ann")], [row("bob"), row("carol"), row("dave")]]);
  const late = ["eve", "frank"].map(write);
  await clock.run(A_MOMENT_MS);
  expect(open).toHaveLength(2);
  open[1]?.answer();
  expect((await Promise.all(others)).every(({ succeeded }) => succeeded)).toBe(true);
  await clock.run(A_MOMENT_MS);
  expect(puts()).toEqual([[row("ann")], [row("eve"), row("frank")]]);
  for (const sent of [...open]) sent.answer();
  await Promise.all([first, ...late]);
});

it("two batches that are on their way write different keys", async () => {
  const first = write("ann");
  await clock.run(0);
  const [again, other] = [write("ann"), write("bob")];
  await clock.run(A_MOMENT_MS);
  expect(puts()).toEqual([[row("ann")], [row("bob")]]);
  open[0]?.answer();
  await first;
  await clock.run(A_MOMENT_MS);
  expect(puts()).toEqual([[row("bob")], [row("ann")]]);
  for (const sent of [...open]) sent.answer();
  await Promise.all([again, other]);
});

it("the own key is written again only while no batch is on its way: batches compare it", async () => {
  const first = write("ann");
  await clock.run(PULSE_MS); // the renewal is due
  const second = write("bob");
  await clock.run(A_MOMENT_MS);
  expect(puts()).toEqual([[row("ann")]]);
  open[0]?.answer();
  await first;
  await clock.run(A_MOMENT_MS);
  expect(puts()).toEqual([[OWN]]);
  open[0]?.answer();
  await clock.run(A_MOMENT_MS);
  expect(puts()).toEqual([[row("bob")]]);
  open[0]?.answer();
  await second;
});

it("after an unknown outcome nothing leaves until the own key is written again, and that waits for the other batch", async () => {
  const first = write("ann");
  await clock.run(0);
  const second = write("bob");
  await clock.run(A_MOMENT_MS);
  open[0]?.fail(new EngineError("unknown", "no answer"));
  const late = write("carol");
  await clock.run(A_MOMENT_MS);
  expect(puts()).toEqual([[row("bob")]]);
  open[0]?.answer();
  expect((await second).succeeded).toBe(true);
  await clock.run(A_MOMENT_MS);
  expect(puts()).toEqual([[OWN]]);
  open[0]?.answer();
  // Read back: it has not been made.
  expect(await first).toMatchObject({ succeeded: false });
  await clock.run(A_MOMENT_MS);
  expect(puts()).toEqual([[row("carol")]]);
  open[0]?.answer();
  await late;
});

it("writes without an answer end with the server", async () => {
  const lost = write("ann");
  await clock.run(0);
  open[0]?.fail(new EngineError("unknown", "no answer"));
  await clock.run(A_MOMENT_MS);
  const waiting = write("bob");
  const ends = [lost, waiting].map((one) => expect(one).rejects.toMatchObject({ code: "try-again" }));
  await session.close();
  for (const sent of [...open]) sent.fail(new EngineError("unknown", "it is closed"));
  await Promise.all(ends);
});
