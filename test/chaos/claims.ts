// What a directory that servers share promises about names, read from the engine's own history, from what clients were told and from
// what each server has answered meanwhile. Pure.
//
//   late     clients of a server that is killed are on at others at once, those of one that falls silent when they have asked it
//   owner    a name is under one key, whoever says so: the engine, a server, the client that was let on
//   unbacked whoever was told that it is on had its row written, since it was started
//   ghost    a row is written by no server whose key is gone: a slow one does not write over its successor
//   removed  while its writer lives, nobody removes the row of a client that is on and undisturbed
//   hidden   a row that the engine has is not "nobody" anywhere: a miss asks the engine, or says that it cannot
import { type Entry, isA, type Of } from "./journal.ts";
import { append, type Story, type Violation } from "./story.ts";

/** "Nobody" counts for a second at a server that has asked. As much again for what is on its way. */
const NOBODY_MS = 2_000;

export function* claims(story: Story, entries: readonly Entry[]): Generator<Violation> {
  for (const back of entries.filter(isA("back"))) {
    if (back.missing.length === 0) continue;
    const text = `${back.missing.join(", ")} did not come back within ${Math.round(back.ms)} ms when ${back.server} was gone (${back.how})`;
    yield { rule: "late", text, lines: [back] };
  }
  yield* owners(entries);
  const history = new History(entries);
  for (const entry of entries) if (entry.type === "on" || entry.type === "owns") yield* unbacked(story, history, entry);
  for (const { row, of } of history.ghosts) {
    const text = `the row of ${row.name} was written by ${row.server}, whose key was gone`;
    yield { rule: "ghost", text, lines: [...of, row] };
  }
  for (const removal of history.removals) yield* removed(story, removal);
  for (const seen of entries.filter(isA("seen"))) if (seen.fingerprint === null) yield* hidden(story, history, seen);
}

function* owners(entries: readonly Entry[]): Generator<Violation> {
  const first = new Map<string, { readonly fingerprint: string; readonly entry: Entry }>();
  const told = new Set<string>();
  for (const entry of entries) {
    const [name, fingerprint] = nameAndKey(entry);
    if (name === null || fingerprint === null) continue;
    const known = first.get(name);
    if (known === undefined) first.set(name, { fingerprint, entry });
    else if (known.fingerprint !== fingerprint && !told.has(`${name} ${fingerprint}`)) {
      told.add(`${name} ${fingerprint}`);
      yield { rule: "owner", text: `${name} is under two keys`, lines: [known.entry, entry] };
    }
  }
}

function* unbacked(story: Story, history: History, entry: Of<"on"> | Of<"owns">): Generator<Violation> {
  const [name, fingerprint] = nameAndKey(entry);
  if (history.isEmpty || name === null || fingerprint === null) return;
  const start = story.runs.get(entry.run)?.start;
  // The engine's history may come late.
  if (history.wasWritten(name, fingerprint, start?.at ?? 0, entry.at + story.settleMs)) return;
  const text = `${entry.who} was told that it is on as ${name}, and no row was written`;
  yield { rule: "unbacked", text, lines: [...(start ? [start] : []), entry] };
}

function nameAndKey(entry: Entry): [string | null, string | null] {
  if (entry.type === "on") return [entry.fingerprint === "" ? null : entry.who, entry.fingerprint];
  if (entry.type === "owns" || entry.type === "row" || entry.type === "seen") return [entry.name, entry.fingerprint];
  return [null, null];
}

/** A row from when it was known to be there until it was known not to be, under whatever claims. */
interface Presence {
  readonly from: number;
  until: number;
  readonly lines: Entry[];
}

interface Removal {
  readonly removed: Of<"row">;
  /** What was removed. */
  readonly row: Of<"row">;
}

class History {
  readonly ghosts: { readonly row: Of<"row">; readonly of: readonly Entry[] }[] = [];
  /** By others than a dead server's janitor. */
  readonly removals: Removal[] = [];
  readonly #presences = new Map<string, Presence[]>();
  readonly #written = new Map<string, Of<"row">[]>();

  constructor(entries: readonly Entry[]) {
    const changes = [...entries.filter(isA("row")), ...entries.filter(isA("lease"))].sort(
      // A server's key comes before what it writes in the same transaction.
      (a, b) => a.revision - b.revision || Number(a.type === "row") - Number(b.type === "row"),
    );
    const leases = new Map<string, Of<"lease">>();
    const rows = new Map<string, Of<"row">>();
    for (const change of changes) {
      if (change.type === "lease") {
        leases.set(incarnationOf(change), change);
        if (!change.isThere) {
          for (const row of rows.values())
            if (incarnationOf(row) === incarnationOf(change)) this.#ends(change, row.name);
        }
        continue;
      }
      const row = rows.get(change.name);
      const writer = leases.get(incarnationOf(change.fingerprint === null && row !== undefined ? row : change));
      const isAlive = writer?.isThere === true;
      if (change.fingerprint === null) {
        this.#ends(change, change.name);
        if (row !== undefined && isAlive) this.removals.push({ removed: change, row });
        rows.delete(change.name);
        continue;
      }
      if (!isAlive) this.ghosts.push({ row: change, of: writer === undefined ? [] : [writer] });
      rows.set(change.name, change);
      append(this.#written, change.name, change);
      this.#begins(change);
    }
  }

  /** Of a run without such a directory. */
  get isEmpty(): boolean {
    return this.#written.size === 0;
  }

  wasWritten(name: string, fingerprint: string, from: number, until: number): boolean {
    const rows = this.#written.get(name) ?? [];
    return rows.some((row) => row.fingerprint === fingerprint && row.at >= from && row.at <= until);
  }

  /** When that name was there from before the first time until after the second. */
  during(name: string, from: number, until: number): Presence | undefined {
    return this.#presences.get(name)?.find((presence) => presence.from <= from && presence.until >= until);
  }

  #begins(row: Of<"row">): void {
    const presences = this.#presences.get(row.name) ?? [];
    this.#presences.set(row.name, presences);
    const last = presences.at(-1);
    if (last?.until === Number.POSITIVE_INFINITY) last.lines.push(row);
    else presences.push({ from: row.at, until: Number.POSITIVE_INFINITY, lines: [row] });
  }
  #ends(by: Entry, name: string): void {
    const last = this.#presences.get(name)?.at(-1);
    if (last?.until !== Number.POSITIVE_INFINITY) return;
    last.until = by.at;
    last.lines.push(by);
  }
}

const incarnationOf = ({ server, incarnation }: { readonly server: string; readonly incarnation: string }): string =>
  `${server} ${incarnation}`;

function* removed(story: Story, { removed: { at }, removed, row }: Removal): Generator<Violation> {
  const since = at - story.settleMs;
  const run = story.onAt(row.name, at);
  if (run?.on === undefined || run.on.at > since) return;
  // Its server has lost sight of it, or of itself.
  if (story.disturbed([row.name, row.server], since, at).length > 0) return;
  const text = `the row of ${row.name} was removed, who was on and undisturbed, as was its server ${row.server}`;
  yield { rule: "removed", text, lines: [run.on, row, removed] };
}

function* hidden(story: Story, history: History, seen: Of<"seen">): Generator<Violation> {
  if (seen.isStale) return;
  // The engine's history may come late.
  const there = history.during(seen.name, seen.asked - NOBODY_MS, seen.at + story.settleMs);
  if (there === undefined) return;
  const text = `${seen.server} said that nobody is ${seen.name}, whose row was there`;
  yield { rule: "hidden", text, lines: [...there.lines.filter(({ at }) => at <= seen.asked).slice(-1), seen] };
}
