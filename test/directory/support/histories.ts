// Random histories of one directory, played by several workers: one step after the other, against the model; or at once, and then
// the search for an order that explains what each caller saw.
import fc from "fast-check";
import { expect } from "vitest";
import { foldName } from "../../../lib/base/names.ts";
import { isLaterVersion } from "../../../lib/directory/claim-rules.ts";
import type { Claim, Directory, DirectoryRow, Registered, RegisterRequest } from "../../../lib/directory/directory.ts";
import { DirectoryError } from "../../../lib/directory/directory-error.ts";
import { asked, expectRefused, known, removedOrUnknown, requestOf, shown, surely, walk } from "./asking.ts";
import { KEYS } from "./entries.ts";
import { isLinearizable, type Operation } from "./linearizable.ts";
import * as model from "./name-model.ts";

/** Of the world that histories are played in. */
export const WORKERS = 3;
const NAMES = ["ann", "Ann", "bob", "日本"];
const PEOPLE = KEYS.slice(0, 3);

type StepOf<K extends string, F = object> = F & {
  readonly kind: K;
  readonly worker: number;
  readonly name: string;
};

export type Step =
  | StepOf<"register", { readonly key: string; readonly takeover: number | null; readonly replace: boolean }>
  | StepOf<"again", { readonly which: number }>
  | StepOf<"update", { readonly which: number }>
  | StepOf<"remove", { readonly which: number }>
  | StepOf<"bind", { readonly key: string }>
  | StepOf<"look", { readonly which: number; readonly at: number }>
  | StepOf<"find">
  | StepOf<"owner">
  | StepOf<"kill">;

const place = { worker: fc.integer({ min: 1, max: WORKERS }), name: fc.constantFrom(...NAMES) };
const key = fc.constantFrom(...PEOPLE);
/** One of the registrations of this name so far. */
const which = fc.nat(20);
const replace = fc.boolean();
const takeover = fc.option(which);
const at = fc.integer({ min: 1, max: 8e12 });

const of = <K extends string, F extends object>(kind: K, fields: F) =>
  fc.record({ kind: fc.constant(kind), ...place, ...fields });

export const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: of("register", { key, takeover, replace }) },
  { weight: 1, arbitrary: of("again", { which }) },
  { weight: 3, arbitrary: of("update", { which }) },
  { weight: 4, arbitrary: of("remove", { which }) },
  { weight: 2, arbitrary: of("bind", { key }) },
  { weight: 2, arbitrary: of("find", {}) },
  { weight: 1, arbitrary: of("owner", {}) },
  { weight: 1, arbitrary: of("look", { which, at }) },
) as fc.Arbitrary<Step>;

/** A worker dies: its rows stay, and its directory is still asked. */
export const kill = of("kill", {}) as fc.Arbitrary<Step>;

/** One step after the other, each with the outcome that the model says. */
export class Sequential {
  readonly #directories: readonly Directory[];
  readonly #states = new Map<string, model.NameState>();
  /** By folded name: what the row that is there shows. */
  readonly #rows = new Map<string, Record<string, unknown>>();
  readonly #requests = new Map<string, RegisterRequest[]>();
  readonly #live = new Set(Array.from({ length: WORKERS }, (_, i) => i + 1));

  constructor(directories: readonly Directory[]) {
    this.#directories = directories;
  }

  async take(next: Step): Promise<void> {
    const directory = this.#directories[next.worker - 1] as Directory;
    const folded = foldName(next.name);
    const state = this.#states.get(folded) ?? model.FREE;
    switch (next.kind) {
      case "register": {
        const old = next.takeover === null ? null : (this.#pick(folded, next.takeover)?.claimId ?? null);
        const asking = { fields: { key: next.key }, worker: next.worker, takeover: old, replace: next.replace };
        return this.#register(directory, folded, state, requestOf(next.name, asking));
      }
      case "bind": {
        const after = model.bind(state, next.key);
        const bind = () => directory.bind(next.name, next.key);
        if (after === null) await expectRefused("taken", bind);
        else await surely(bind);
        this.#states.set(folded, after ?? state);
        return;
      }
      case "kill":
        if (this.#live.size > 1) this.#live.delete(next.worker);
        for (const each of this.#directories) each.setLiveWorkers(this.#live);
        return;
      case "find":
      case "owner":
        return this.check(directory);
    }
    const request = this.#pick(folded, next.which);
    if (request === undefined) return;
    const claim = { name: next.name, id: request.claimId, version: 0 };
    const holds = model.holds(state, claim.id);
    if (next.kind === "again") {
      await this.#register(directory, folded, state, request);
    } else if (next.kind === "update") {
      const rooms = [`#${claim.id.slice(0, 4)}${next.which}`.replaceAll(/[+/]/g, "_")];
      const update = () => directory.update(claim, { rooms });
      if (holds) this.#rows.set(folded, { ...this.#rows.get(folded), rooms });
      if (holds) await surely(update);
      else await expectRefused("replaced", update);
    } else if (next.kind === "remove") {
      if (holds) expect(await removedOrUnknown(directory, claim)).toBe(true);
      else expect(await surely(() => directory.remove(claim))).toBe(false);
      this.#states.set(folded, model.remove(state, claim.id));
    } else if (holds) {
      // A client looks up through its own worker, where it shows.
      const own = this.#directories[request.place.worker - 1] as Directory;
      own.lookedUp(claim, next.at);
      expect((await surely(() => own.find(next.name)))?.entry.lastLookupAt).toBe(next.at);
    }
  }

  #pick(folded: string, index: number): RegisterRequest | undefined {
    const made = this.#requests.get(folded) ?? [];
    return made[index % Math.max(1, made.length)];
  }

  async #register(
    directory: Directory,
    folded: string,
    state: model.NameState,
    request: RegisterRequest,
  ): Promise<void> {
    const made = this.#requests.get(folded) ?? [];
    if (!made.includes(request)) this.#requests.set(folded, [...made, request]);
    const expected = model.register(state, askedOfModel(request), (worker) => this.#live.has(worker));
    if (expected.outcome === "taken") {
      await expectRefused("taken", () => directory.register(request));
      return;
    }
    const { result, wasUnknown } = await known(() => directory.register(request));
    expect(result.claim.id).toBe(request.claimId);
    if (!wasUnknown) expect(result.replaced?.claimId ?? null).toBe(expected.replaced);
    this.#states.set(folded, expected.state);
    if (expected.isNew) this.#rows.set(folded, asked(request));
  }

  /** The directory shows what the model has. */
  async check(directory: Directory): Promise<void> {
    const withoutTime = (row: Record<string, unknown> | null) => row && { ...row, lastLookupAt: null };
    const there: unknown[] = [];
    for (const [folded, { row, owner }] of this.#states) {
      const expected = row === null ? null : this.#rows.get(folded);
      expect(withoutTime(shown(await surely(() => directory.find(folded.toUpperCase()))))).toEqual(expected);
      expect(await surely(() => directory.ownerOf(folded))).toBe(owner);
      if (row !== null) there.push(expected);
    }
    const rows = (await walk(directory, 2)).map((row) => withoutTime(shown(row)));
    expect(rows).toHaveLength(there.length);
    expect(rows).toEqual(expect.arrayContaining(there));
    expect(directory.count).toBe(there.length);
  }
}

function askedOfModel({ entry, claimId, place: { worker }, takeover: old, replace: may }: RegisterRequest) {
  return { key: entry.key, claimId, worker, takeover: old, replace: may };
}

/** A caller that does not know the outcome. */
const UNKNOWN = Symbol("unknown");

/** What the search for an order knows of a name. */
interface Seen extends model.NameState {
  /** The row's version; null where an unknown write made it. */
  readonly version: number | null;
  /** The latest version that is known. */
  readonly last: number;
}

interface Removal {
  readonly called: number;
  answered: number;
  isUnknown: boolean;
}

/** Steps at the same time. Notes what each caller saw, and looks for an order that explains it. All workers live. */
export class Concurrent {
  readonly #directories: readonly Directory[];
  readonly #isLocal: boolean;
  readonly #operations = new Map<string, (Operation<Seen> & { readonly saw: string })[]>();
  /** Claim ids by worker and folded name: a worker uses its own. */
  readonly #claims = new Map<string, string[]>();
  /** By folded name; without those that found nothing. */
  readonly #removals = new Map<string, Set<Removal>>();
  readonly #pending: Promise<void>[] = [];
  #clock = 0;
  #updates = 0;

  constructor(directories: readonly Directory[], isLocal: boolean) {
    this.#directories = directories;
    this.#isLocal = isLocal;
  }

  /** @returns when the step has its answer; it need not be awaited before the next one */
  take(next: Step): Promise<void> {
    const taken = this.#take(next);
    this.#pending.push(taken);
    return taken;
  }

  async done(): Promise<void> {
    await Promise.all(this.#pending);
  }

  async #take(next: Step): Promise<void> {
    const { worker, name } = next;
    const directory = this.#directories[worker - 1] as Directory;
    const folded = foldName(name);
    const claims = this.#claims.get(`${worker} ${folded}`) ?? [];
    const pick = (index: number) => claims[index % Math.max(1, claims.length)] ?? null;
    switch (next.kind) {
      case "register": {
        const old = next.takeover === null ? null : pick(next.takeover);
        const asking = { fields: { key: next.key }, worker, takeover: old, replace: next.replace };
        const request = requestOf(name, asking);
        this.#claims.set(`${worker} ${folded}`, [...claims, request.claimId]);
        return this.#register(directory, folded, worker, request);
      }
      case "bind":
        return this.#bind(directory, folded, worker, next.key);
      case "find":
        return void (await this.#find(directory, folded));
      case "owner":
        return this.#owner(directory, folded);
      case "update":
      case "remove": {
        const claimId = pick(next.which);
        if (claimId === null) return;
        const claim = { name, id: claimId, version: 0 };
        return next.kind === "update"
          ? this.#update(directory, folded, worker, claim)
          : this.#remove(directory, folded, worker, claim);
      }
    }
  }

  async #register(directory: Directory, folded: string, worker: number, request: RegisterRequest): Promise<void> {
    const called = this.#clock + 1;
    const attempt = () => directory.register(request);
    const outcome = await this.#observe(
      folded,
      worker,
      `register ${JSON.stringify(askedOfModel(request))}`,
      attempt,
      (state, seen) => {
        const expected = model.register(state, askedOfModel(request), () => true);
        if (expected.outcome === "taken") return seen === "taken" || seen === UNKNOWN ? state : null;
        if (seen === "taken") return null;
        if (seen === UNKNOWN) return expected.isNew ? { ...state, ...expected.state, version: null } : state;
        const { claim, replaced } = seen as Registered;
        if ((replaced?.claimId ?? null) !== expected.replaced) return null;
        if (expected.isNew) return withVersion({ ...state, ...expected.state }, claim.version);
        return state.version === null || state.version === claim.version ? state : null;
      },
    );
    if (outcome === UNKNOWN || outcome === "taken") return;
    // It is confirmed: every directory finds the name, unless a removal has begun since.
    const finds = this.#directories.map(async (each) => {
      if ((await this.#find(each, folded)) !== null) return;
      const removals = [...(this.#removals.get(folded) ?? [])];
      const mayBeRemoved = removals.some(({ isUnknown, answered }) => isUnknown || answered >= called);
      if (!mayBeRemoved) expect.fail(`${folded} is registered, and a directory does not find it`);
    });
    await Promise.all(finds);
  }

  async #update(directory: Directory, folded: string, worker: number, claim: Claim): Promise<void> {
    const rooms = [`#r${++this.#updates}`];
    const attempt = () => directory.update(claim, { rooms });
    await this.#observe(folded, worker, `update ${claim.id}`, attempt, (state, seen) => {
      if (!model.holds(state, claim.id)) return seen === "replaced" || seen === UNKNOWN ? state : null;
      if (seen === UNKNOWN) return { ...state, version: null };
      return seen === "replaced" ? null : withVersion(state, (seen as Claim).version);
    });
  }

  async #remove(directory: Directory, folded: string, worker: number, claim: Claim): Promise<void> {
    const removals = this.#removals.get(folded) ?? new Set<Removal>();
    const removal = { called: this.#clock + 1, answered: Number.POSITIVE_INFINITY, isUnknown: false };
    this.#removals.set(folded, removals.add(removal));
    const attempt = () => directory.remove(claim);
    const outcome = await this.#observe(folded, worker, `remove ${claim.id}`, attempt, (state, seen) => {
      const holds = model.holds(state, claim.id);
      if (seen !== UNKNOWN && seen !== holds) return null;
      return holds ? { ...state, ...model.remove(state, claim.id), version: null } : state;
    });
    removal.answered = this.#clock;
    removal.isUnknown = outcome === UNKNOWN;
    if (outcome === false) removals.delete(removal);
  }

  async #bind(directory: Directory, folded: string, worker: number, by: string): Promise<void> {
    const attempt = () => directory.bind(folded, by);
    await this.#observe(folded, worker, `bind ${by}`, attempt, (state, seen) => {
      const after = model.bind(state, by);
      if (after === null) return seen === "taken" || seen === UNKNOWN ? state : null;
      return seen === "taken" ? null : { ...state, ...after };
    });
  }

  /** A read has its place in the order only where all directories read the same memory. */
  async #find(directory: Directory, folded: string): Promise<DirectoryRow | null> {
    if (!this.#isLocal) return surely(() => directory.find(folded));
    const attempt = () => directory.find(folded);
    const found = await this.#observe(folded, null, "find", attempt, (state, seen) => {
      const row = seen as DirectoryRow | null;
      if ((row?.claimId ?? null) !== (state.row?.claimId ?? null)) return null;
      return row === null || state.version === null || state.version === row.version ? state : null;
    });
    return found as DirectoryRow | null;
  }

  async #owner(directory: Directory, folded: string): Promise<void> {
    if (!this.#isLocal) return;
    const attempt = () => directory.ownerOf(folded);
    await this.#observe(folded, null, "owner", attempt, (state, seen) => (seen === state.owner ? state : null));
  }

  /**
   * @param worker whose calls keep their order; null for a read, which keeps no order but that of time
   * @param apply the state after it; null if the outcome is impossible in that state
   * @returns what the caller saw: the result, the code of the refusal, or {@link UNKNOWN}
   */
  async #observe(
    folded: string,
    worker: number | null,
    what: string,
    attempt: () => unknown,
    apply: (state: Seen, seen: unknown) => Seen | null,
  ): Promise<unknown> {
    const called = ++this.#clock;
    let seen: unknown;
    try {
      seen = await attempt();
    } catch (error) {
      if (!(error instanceof DirectoryError)) throw error;
      seen = error.code === "try-again" ? UNKNOWN : error.code;
    }
    // A bind may find at once that nothing is to be done, before the calls in front of it have their turn.
    const keepsOrder = worker !== null && (seen === UNKNOWN || !what.startsWith("bind"));
    const operation = {
      sequence: keepsOrder ? `worker ${worker}` : `${called}`,
      called,
      answered: ++this.#clock,
      saw: `${what}: ${JSON.stringify(seen, summary) ?? String(seen)}`,
      isUnknown: seen === UNKNOWN,
      apply: (state: Seen) => apply(state, seen),
    };
    this.#operations.set(folded, [...(this.#operations.get(folded) ?? []), operation]);
    return seen;
  }

  /** Everything has its answer, and nothing is under way any more. */
  async check(): Promise<void> {
    for (const [folded, operations] of this.#operations) {
      if (isLinearizable(operations, { ...model.FREE, version: null, last: 0 })) continue;
      const lines = operations.map(
        ({ sequence, called, answered, saw }) => `${called}-${answered} ${sequence}: ${saw}`,
      );
      expect.fail(`no order explains what the callers saw of ${folded}:\n${lines.join("\n")}`);
    }
    const shownBy: unknown[] = [];
    for (const directory of this.#directories) {
      const rows = await walk(directory, 2);
      const names = rows.map(({ entry }) => foldName(entry.name));
      expect(new Set(names).size).toBe(names.length);
      for (const row of rows) expect(shown(await surely(() => directory.find(row.entry.name)))).toEqual(shown(row));
      shownBy.push(rows.map(({ entry, claimId, version }) => `${entry.name} ${claimId} ${version}`).sort());
    }
    for (const rows of shownBy) expect(rows).toEqual(shownBy[0]);
  }
}

/** For the message of a failure: entries are long, and say no more than the claim id. */
function summary(key: string, value: unknown): unknown {
  return key === "entry" ? undefined : value;
}

/** @returns null if the version is not later than all that are known */
function withVersion(state: Seen, version: number): Seen | null {
  return isLaterVersion(version, state.last) ? { ...state, version, last: version } : null;
}
