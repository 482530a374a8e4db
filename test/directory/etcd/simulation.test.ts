// The invariants of a shared directory (lib/directory/etcd/transactions.ts), whatever happens; and that the checker would notice.
import { describe, expect, it } from "vitest";
import type {
  Compare,
  Engine,
  EngineEvent,
  Operation,
  Transaction,
  WatchListener,
} from "../../../lib/directory/etcd/engine.ts";
import { times } from "../../helpers/volume.ts";
import { changed } from "./support/changed-engine.ts";
import { type Sabotage, Simulation, type SimulationOptions } from "./support/simulation.ts";

const SCHEDULES = times(50);
/** Schedules in which a planted fault has to show. */
const UNTIL_FOUND = 300;

async function played(options: SimulationOptions): Promise<Simulation> {
  const simulation = new Simulation(options);
  await simulation.run();
  return simulation;
}

describe("servers that share a directory", { timeout: 600_000 }, () => {
  it.each([
    ["with lost leases, unknown outcomes, stopped and killed servers, partitions, compaction", false, SCHEDULES],
    ["with backups that are restored as well", true, Math.ceil(SCHEDULES / 2)],
  ])("keep the invariants %s", async (_, restores, schedules) => {
    const sums: Record<string, number> = {};
    for (let seed = 1; seed <= schedules; seed++) {
      const { violations, done } = await played({ seed, restores });
      expect(violations, `seed ${seed}`).toEqual([]);
      for (const [what, count] of Object.entries(done)) sums[what] = (sums[what] ?? 0) + count;
    }
    console.log(`${schedules} schedules`, sums);
    for (const count of Object.values(sums)) expect(count).toBeGreaterThan(schedules);
  });

  it("live the same life again with the same seed", async () => {
    const [first, second] = [await played({ seed: 7 }), await played({ seed: 7 })];
    expect(second.done).toEqual(first.done);
    expect(second.store.entries("")).toEqual(first.store.entries(""));
  });

  it.each(Object.entries(faults()))("a checker finds: %s", async (_, sabotage) => {
    for (let seed = 1; seed <= UNTIL_FOUND; seed++) {
      const { violations } = await played({ seed, sabotage, restores: false });
      if (violations.length === 0) continue;
      console.log(`seed ${seed}: ${violations[0]}`);
      return;
    }
    expect.fail(`nothing was noticed in ${UNTIL_FOUND} schedules`);
  });
});

/** Faults of a directory or its engine, each of them as one change of what passes between the two. */
function faults(): Record<string, Sabotage> {
  const isRow = ({ key }: Compare) => key.startsWith("/t/n/");
  const removes = ({ then }: Transaction) => then.some((one) => "delete" in one && one.delete.startsWith("/t/n/"));
  return {
    "a row that is removed without a compare": compares((transaction, one) => !(removes(transaction) && isRow(one))),
    "a claim that does not compare the row": compares((transaction, one) => removes(transaction) || !isRow(one)),
    "a claim that does not compare the owner": compares((_, { key }) => !key.startsWith("/t/o/")),
    "a server that writes without its lease": compares(
      (_, { key, what }) => !(key.startsWith("/t/s/") && what === "mod"),
    ),
    // What a compare of values does when the key is not there.
    "a take-over that compares a value": transactions((transaction) => ({
      ...transaction,
      when: transaction.when.map((one) => (isOfDead(one, transaction) ? never(one.key) : one)),
    })),
    "a watch that goes on at the header's revision": (engine, store) =>
      changed(engine, {
        watch(prefix, from, listener) {
          const { revision } = store.state;
          // But for the change that the server knows, and would miss: it would begin anew then.
          return telling(engine, prefix, from, listener, (events, tell) =>
            tell(events.filter((event) => event.revision === from || event.revision > revision)),
          );
        },
      }),
    "half a revision that counts as a whole one": watching((events, tell) => {
      tell(events.slice(0, 1));
      if (events.length > 1) tell(events.slice(1));
    }),
    "a watch that loses the end of servers": watching((events, tell) =>
      tell(events.filter((event) => !("delete" in event && event.delete.startsWith("/t/s/")))),
    ),
    "a list that misses a row": (engine) =>
      changed(engine, {
        async list(prefix, options) {
          const page = await engine.list(prefix, options);
          const missed = page.values.find(({ key }) => key.startsWith("/t/n/"));
          return { ...page, values: page.values.filter((value) => value !== missed) };
        },
      }),
    "rooms that nobody takes out": transactions((transaction) => ({
      ...transaction,
      then: transaction.then.filter((one) => !("delete" in one && one.delete.startsWith("/t/r/"))),
    })),
  };
}

function never(key: string): Compare {
  return { key, what: "mod", is: ">", revision: 1e9 };
}

function isOfDead({ key, what }: Compare, { then }: Transaction): boolean {
  return key.startsWith("/t/s/") && what === "create" && !then.some((one) => "put" in one && one.put === key);
}

function transactions(change: (transaction: Transaction) => Transaction): Sabotage {
  const all = (transaction: Transaction): Transaction => {
    const inside = (operations: readonly Operation[]) =>
      operations.map((one) => ("transaction" in one ? { transaction: all(one.transaction) } : one));
    return change({ ...transaction, then: inside(transaction.then), otherwise: inside(transaction.otherwise) });
  };
  return (engine) =>
    changed(engine, { transact: (transaction, deadline) => engine.transact(all(transaction), deadline) });
}

/** @param keeps whether that compare stays */
function compares(keeps: (transaction: Transaction, compare: Compare) => boolean): Sabotage {
  return transactions((transaction) => ({
    ...transaction,
    when: transaction.when.filter((compare) => keeps(transaction, compare)),
  }));
}

type Telling = (events: readonly EngineEvent[], tell: (events: readonly EngineEvent[]) => void) => void;

function watching(change: Telling): Sabotage {
  return (engine) =>
    changed(engine, { watch: (prefix, from, listener) => telling(engine, prefix, from, listener, change) });
}

function telling(engine: Engine, prefix: string, from: number, listener: WatchListener, change: Telling): Disposable {
  return engine.watch(prefix, from, {
    events: (events, state) => change(events, (some) => some.length > 0 && listener.events(some, state)),
    progress: (state) => listener.progress(state),
    ended: (why, error) => listener.ended(why, error),
  });
}
