// The contract of lib/directory/etcd/engine.ts, rule by rule, for any implementation.
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import {
  type Engine,
  EngineError,
  type EngineErrorCode,
  type EngineEvent,
  type EngineState,
  type KeyValue,
  type Operation,
  type Transaction,
  type TransactionResult,
  type WatchListener,
} from "../../../lib/directory/etcd/engine.ts";

/** Ms: far beyond what any call takes. */
const DEADLINE = 20_000;
/** Of an expectation that comes true by itself. */
const SOON = { timeout: 30_000, interval: 20 };

export interface EngineWorld extends AsyncDisposable {
  readonly engine: Engine;
  /** Another client of the same store. */
  another(): Engine;
  /** The store forgets what was before this revision. */
  compact(revision: number): Promise<void>;
  /** Lets so many ms pass, for the store's leases, too. */
  elapse(ms: number): Promise<void>;
}

export interface EngineImplementation {
  readonly name: string;
  /** Why it cannot be tested here. */
  readonly missing: string | null;
  start(): Promise<EngineWorld>;
}

export const bytes = (text: string): Uint8Array => Buffer.from(text);
export const text = (value: KeyValue | null | undefined): string | null =>
  value ? Buffer.from(value.value).toString() : null;
export const doing = (...then: Operation[]): Transaction => ({ when: [], then, otherwise: [] });

/** Hears a watch. */
export class WatchHearing implements WatchListener {
  readonly batches: EngineEvent[][] = [];
  readonly states: EngineState[] = [];
  readonly progressed: EngineState[] = [];
  end: { readonly why: "compacted" | "lost"; readonly error: Error } | null = null;

  events(events: readonly EngineEvent[], state: EngineState): void {
    this.batches.push([...events]);
    this.states.push(state);
  }
  progress(state: EngineState): void {
    this.progressed.push(state);
  }
  ended(why: "compacted" | "lost", error: Error): void {
    this.end = { why, error };
  }

  get all(): EngineEvent[] {
    return this.batches.flat();
  }
  /** "=KEY" for a put, "-KEY" for a delete. */
  get keys(): string[] {
    return this.all.map((event) => ("put" in event ? `=${event.put.key}` : `-${event.delete}`));
  }
  /** No revision is in two batches, and they only grow. */
  expectWhole(): void {
    let last = 0;
    for (const [i, batch] of this.batches.entries()) {
      expect(batch[0]?.revision).toBeGreaterThan(last);
      for (const { revision } of batch) {
        expect(revision).toBeGreaterThanOrEqual(last);
        last = revision;
      }
      expect(this.states[i]?.revision).toBe(last);
    }
  }
}

export async function expectFailure(code: EngineErrorCode, promise: Promise<unknown>): Promise<EngineError> {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(EngineError);
  expect((error as EngineError).code).toBe(code);
  return error as EngineError;
}

export function engineConformance({ name, missing, start }: EngineImplementation): void {
  describe.skipIf(missing !== null)(`an engine: ${name}${missing === null ? "" : ` (${missing})`}`, () => {
    let world: EngineWorld;
    let engine: Engine;
    let prefix: string;
    let tests = 0;

    beforeAll(async () => {
      world = await start();
      engine = world.engine;
    }, 90_000);
    afterAll(async () => {
      await world?.[Symbol.asyncDispose]();
    });
    beforeEach(() => {
      prefix = `/t${++tests}/`;
    });

    const key = (end: string) => prefix + end;
    const put = (end: string, value = "", lease = "0"): Operation => ({ put: key(end), value: bytes(value), lease });
    const remove = (end: string): Operation => ({ delete: key(end) });
    const get = (end: string): Operation => ({ get: key(end) });
    const transact = (transaction: Transaction): Promise<TransactionResult> => engine.transact(transaction, DEADLINE);
    const read = async (end: string): Promise<KeyValue | null> => {
      const [result] = (await transact(doing(get(end)))).results;
      if (result?.kind !== "get") throw new Error("no answer to a get");
      return result.value;
    };
    const all = (revision = 0) => engine.list(prefix, { limit: 10_000, revision, deadline: DEADLINE });
    const keysOf = async () => (await all()).values.map((value) => value.key.slice(prefix.length));

    describe("transactions", () => {
      it("a put is read as it was written, with its revisions", async () => {
        const { revision, cluster } = await transact(doing(put("a", "one")));
        const first = await read("a");
        expect(first).toMatchObject({ key: key("a"), createRevision: revision, modRevision: revision, lease: "0" });
        expect(text(first)).toBe("one");
        const later = await transact(doing(put("a", "two")));
        expect(later.revision).toBe(revision + 1);
        expect(later.cluster).toBe(cluster);
        expect(cluster).toMatch(/^[0-9]+$/);
        expect(await read("a")).toMatchObject({ createRevision: revision, modRevision: revision + 1 });
      });

      it("any bytes are a value, and a name of any script a key", async () => {
        const value = Uint8Array.from({ length: 256 }, (_, i) => i);
        await transact(doing({ put: key("Žluťoučký 🐎"), value }));
        const found = await read("Žluťoučký 🐎");
        expect(found?.key).toBe(key("Žluťoučký 🐎"));
        expect([...(found?.value ?? [])]).toEqual([...value]);
      });

      it("a missing key is null, and one that was removed is missing", async () => {
        expect(await read("a")).toBeNull();
        await transact(doing(put("a")));
        expect((await transact(doing(remove("a")))).results).toEqual([{ kind: "delete", deleted: true }]);
        expect((await transact(doing(remove("a")))).results).toEqual([{ kind: "delete", deleted: false }]);
        expect(await read("a")).toBeNull();
      });

      it("a transaction that changes nothing leaves the revision as it is", async () => {
        const before = await transact(doing(get("a")));
        expect((await transact(doing(remove("a")))).revision).toBe(before.revision);
        expect((await transact(doing(put("a")))).revision).toBe(before.revision + 1);
      });

      it("all compares must hold, otherwise the other branch runs", async () => {
        const { revision } = await transact(doing(put("a")));
        const when = [
          { key: key("a"), what: "mod", is: "=", revision } as const,
          { key: key("b"), what: "create", is: "=", revision: 0 } as const,
        ];
        const first = await transact({ when, then: [put("b", "then")], otherwise: [put("b", "otherwise")] });
        expect(first.succeeded).toBe(true);
        const second = await transact({ when, then: [put("b", "again")], otherwise: [get("b"), put("c")] });
        expect(second.succeeded).toBe(false);
        expect(second.results.map(({ kind }) => kind)).toEqual(["get", "put"]);
        expect(text(await read("b"))).toBe("then");
        expect(await keysOf()).toEqual(["a", "b", "c"]);
      });

      it("a key that is there has a create revision above 0, and a missing one has 0", async () => {
        const isThere = { key: key("a"), what: "create", is: ">", revision: 0 } as const;
        const isMissing = { ...isThere, is: "=" } as const;
        const holds = async (compare: Transaction["when"][number]) =>
          (await transact({ when: [compare], then: [], otherwise: [] })).succeeded;
        expect([await holds(isThere), await holds(isMissing)]).toEqual([false, true]);
        await transact(doing(put("a")));
        expect([await holds(isThere), await holds(isMissing)]).toEqual([true, false]);
        await transact(doing(remove("a")));
        expect([await holds(isThere), await holds(isMissing)]).toEqual([false, true]);
        expect(await holds({ ...isMissing, what: "mod" })).toBe(true);
      });

      it("nested transactions have an outcome each, and all see what was there before the whole", async () => {
        await transact(doing(put("taken")));
        const claim = (end: string): Operation => ({
          transaction: {
            when: [{ key: key(end), what: "create", is: "=", revision: 0 }],
            then: [put(end, "claimed")],
            otherwise: [get(end)],
          },
        });
        const sees: Operation = {
          transaction: {
            when: [{ key: key("a"), what: "create", is: ">", revision: 0 }],
            then: [put("late", "saw it")],
            otherwise: [put("late", "saw nothing")],
          },
        };
        const result = await transact(doing(claim("a"), claim("taken"), sees));
        expect(result.results.map((each) => each.kind === "transaction" && each.succeeded)).toEqual([
          true,
          false,
          false,
        ]);
        expect(text(await read("late"))).toBe("saw nothing");
        const rows = (await all()).values;
        expect(rows.map(({ modRevision }) => modRevision)).toEqual([
          result.revision,
          result.revision,
          result.revision - 1,
        ]);
      });

      it("a transaction writes no key twice", async () => {
        await expectFailure("refused", transact(doing(put("a", "1"), put("a", "2"))));
        expect(await read("a")).toBeNull();
      });

      it("of clients that want the same missing key at once one gets it", async () => {
        const clients = Array.from({ length: 8 }, () => world.another());
        const claim = (value: string): Transaction => ({
          when: [{ key: key("a"), what: "create", is: "=", revision: 0 }],
          then: [put("a", value)],
          otherwise: [],
        });
        const results = await Promise.all(clients.map((each, i) => each.transact(claim(`${i}`), DEADLINE)));
        const winners = results.flatMap(({ succeeded }, i) => (succeeded ? [i] : []));
        expect(winners).toHaveLength(1);
        expect(text(await read("a"))).toBe(`${winners[0]}`);
        for (const each of clients) each.close();
      });
    });

    describe("lists", () => {
      it("have the keys of the prefix alone, in their order", async () => {
        await transact(doing(put("b"), put("a/x"), put("a"), put("é")));
        await transact(doing({ put: `${prefix.slice(0, -1)}0`, value: bytes("behind") }));
        await transact(doing({ put: prefix.slice(0, -1), value: bytes("before") }));
        expect(await keysOf()).toEqual(["a", "a/x", "b", "é"]);
      });

      it("an empty one has a revision, and nothing more", async () => {
        const { revision } = await transact(doing({ put: "/elsewhere", value: bytes("") }));
        expect(await all()).toMatchObject({ values: [], more: false, revision });
      });

      it("go page by page at one revision, whatever changes meanwhile", async () => {
        const ends = Array.from({ length: 25 }, (_, i) => `k${String(i).padStart(2, "0")}`);
        await transact(doing(...ends.map((end) => put(end, "old"))));
        const seen: KeyValue[] = [];
        let page = await engine.list(prefix, { limit: 10, revision: 0, deadline: DEADLINE });
        const { revision } = page;
        for (;;) {
          seen.push(...page.values);
          if (!page.more) break;
          await transact(doing(put(`k${seen.length}x`), put("k24", "new"), remove("k23")));
          const after = seen.at(-1)?.key ?? "";
          page = await engine.list(prefix, { after, limit: 10, revision, deadline: DEADLINE });
        }
        expect(seen.map((value) => value.key.slice(prefix.length))).toEqual(ends);
        expect(seen.map((value) => text(value))).toEqual(ends.map(() => "old"));
      });

      it("at a revision that is not remembered they are refused", async () => {
        const { revision } = await transact(doing(put("a")));
        await transact(doing(put("a")));
        await world.compact(revision + 1);
        await expectFailure("refused", engine.list(prefix, { limit: 1, revision, deadline: DEADLINE }));
      });
    });

    describe("leases", () => {
      it("a key goes with its lease, in one revision with the others of it", async () => {
        const lease = await engine.grantLease(60, DEADLINE);
        expect(lease).toMatch(/^[1-9][0-9]*$/);
        const { revision } = await transact(doing(put("a", "", lease), put("b", "", lease), put("c")));
        expect((await read("a"))?.lease).toBe(lease);
        const hearing = new WatchHearing();
        using _watch = engine.watch(prefix, revision + 1, hearing);
        await engine.revokeLease(lease, DEADLINE);
        await vi.waitFor(() => expect([...hearing.keys].sort()).toEqual([`-${key("a")}`, `-${key("b")}`]), SOON);
        expect(new Set(hearing.all.map((event) => event.revision)).size).toBe(1);
        expect(await keysOf()).toEqual(["c"]);
      });

      it("one that is not kept alive ends, and one that is does not", async () => {
        const [kept, left] = [await engine.grantLease(3, DEADLINE), await engine.grantLease(3, DEADLINE)];
        await transact(doing(put("kept", "", kept), put("left", "", left)));
        await vi.waitFor(async () => {
          expect(await engine.keepAlive(kept, DEADLINE)).toBeGreaterThan(0);
          await world.elapse(500);
          expect(await keysOf()).toEqual(["kept"]);
        }, SOON);
        await engine.revokeLease(kept, DEADLINE);
      });

      it("a put again without the lease stays when the lease goes", async () => {
        const lease = await engine.grantLease(60, DEADLINE);
        await transact(doing(put("a", "", lease)));
        await transact(doing(put("a", "stays")));
        await engine.revokeLease(lease, DEADLINE);
        expect(text(await read("a"))).toBe("stays");
      });

      it("of one that is not there keepAlive and put say so, and to revoke it again is no error", async () => {
        const lease = await engine.grantLease(60, DEADLINE);
        await engine.revokeLease(lease, DEADLINE);
        await engine.revokeLease(lease, DEADLINE);
        await expectFailure("no-lease", engine.keepAlive(lease, DEADLINE));
        await expectFailure("no-lease", transact(doing(put("a", "", lease))));
        await expectFailure("no-lease", transact(doing({ transaction: doing(put("a", "", lease)) })));
        expect(await read("a")).toBeNull();
      });
    });

    describe("watches", () => {
      it("tell every change from their revision on, in order, and no other prefix's", async () => {
        const { revision } = await transact(doing(put("a", "1")));
        await transact(doing(put("b")));
        const hearing = new WatchHearing();
        using _watch = engine.watch(prefix, revision, hearing);
        await vi.waitFor(() => expect(hearing.keys).toHaveLength(2), SOON);
        await transact(doing({ put: "/elsewhere", value: bytes("") }));
        await transact(doing(remove("a"), put("c", "3")));
        await vi.waitFor(() => expect(hearing.keys).toHaveLength(4), SOON);
        expect(hearing.keys.slice(0, 2)).toEqual([`=${key("a")}`, `=${key("b")}`]);
        expect([...hearing.keys.slice(2)].sort()).toEqual([`-${key("a")}`, `=${key("c")}`]);
        const values = hearing.all.flatMap((event) => ("put" in event ? [text(event.put)] : []));
        expect(values).toEqual(["1", "", "3"]);
        expect(hearing.all.at(-1)?.revision).toBe(revision + 3);
        hearing.expectWhole();
        expect(hearing.end).toBeNull();
      });

      it("say nothing any more when they have been disposed", async () => {
        const { revision } = await transact(doing(put("a")));
        const [gone, stays] = [new WatchHearing(), new WatchHearing()];
        const watch = engine.watch(prefix, revision, gone);
        using _other = engine.watch(prefix, revision, stays);
        await vi.waitFor(() => expect([gone.keys.length, stays.keys.length]).toEqual([1, 1]), SOON);
        watch[Symbol.dispose]();
        await transact(doing(put("b")));
        await vi.waitFor(() => expect(stays.keys).toHaveLength(2), SOON);
        expect(gone.keys).toHaveLength(1);
        expect(gone.end).toBeNull();
      });

      it("tell revisions of hundreds of keys whole", async () => {
        const { revision } = await transact(doing(put("begin")));
        const hearing = new WatchHearing();
        using _watch = engine.watch(prefix, revision + 1, hearing);
        const batch = (b: number) =>
          doing(
            ...[0, 1].map(
              (part): Operation => ({
                transaction: doing(...Array.from({ length: 100 }, (_, i) => put(`${b}/${part}/${i}`, "x".repeat(100)))),
              }),
            ),
          );
        for (let b = 0; b < 10; b++) await transact(batch(b));
        await vi.waitFor(() => expect(hearing.all).toHaveLength(2000), SOON);
        hearing.expectWhole();
        const sizes = new Map<number, number>();
        for (const event of hearing.all) sizes.set(event.revision, (sizes.get(event.revision) ?? 0) + 1);
        expect([...sizes.values()]).toEqual(Array.from({ length: 10 }, () => 200));
      });

      it("tell a backlog of many megabytes, whole", async () => {
        const { revision } = await transact(doing(put("begin")));
        const value = "x".repeat(9_000);
        for (let b = 0; b < 12; b++) {
          await transact(doing(...Array.from({ length: 100 }, (_, i) => put(`${b}/${i}`, value))));
        }
        const hearing = new WatchHearing();
        using _watch = engine.watch(prefix, revision + 1, hearing);
        await vi.waitFor(() => expect(hearing.all).toHaveLength(1200), SOON);
        hearing.expectWhole();
        expect(hearing.end).toBeNull();
      });

      it("from a revision that is not remembered any more they end as compacted, and say nothing", async () => {
        const { revision } = await transact(doing(put("a", "1")));
        for (let i = 0; i < 3; i++) await transact(doing(put("a", "2")));
        await world.compact(revision + 2);
        const hearing = new WatchHearing();
        using _watch = engine.watch(prefix, revision, hearing);
        await vi.waitFor(() => expect(hearing.end?.why).toBe("compacted"), SOON);
        expect(hearing.all).toEqual([]);
        const next = new WatchHearing();
        using _next = engine.watch(prefix, (await all()).revision + 1, next);
        await transact(doing(put("b")));
        await vi.waitFor(() => expect(next.keys).toEqual([`=${key("b")}`]), SOON);
      });

      it("one that is up to date goes on through a compaction", async () => {
        const { revision } = await transact(doing(put("a")));
        const hearing = new WatchHearing();
        using _watch = engine.watch(prefix, revision, hearing);
        await vi.waitFor(() => expect(hearing.keys).toHaveLength(1), SOON);
        const { revision: latest } = await transact(doing(put("b")));
        await world.compact(latest);
        await transact(doing(put("c")));
        await vi.waitFor(() => expect(hearing.keys).toHaveLength(3), SOON);
        expect(hearing.end).toBeNull();
      });
    });

    it("ends every call, and every watch silently, when it is closed", async () => {
      const client = world.another();
      const { revision } = await client.transact(doing(put("a")), DEADLINE);
      const hearing = new WatchHearing();
      using _watch = client.watch(prefix, revision, hearing);
      await vi.waitFor(() => expect(hearing.keys).toHaveLength(1), SOON);
      client.close();
      await expect(client.transact(doing(put("b")), DEADLINE)).rejects.toBeInstanceOf(EngineError);
      await transact(doing(put("c")));
      expect(hearing.keys).toHaveLength(1);
      expect(hearing.end).toBeNull();
    });
  });
}
