// Journals: what programs write that may be killed at any moment, and what is read of it.
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { expireJournals } from "../../lib/store/history/folder.ts";
import { HistoryJournal } from "../../lib/store/history/journal.ts";
import { type HistoryQuery, readHistory } from "../../lib/store/history/read.ts";
import { type HistoryRecord, historyJson, parseRecord } from "../../lib/store/history/record.ts";
import { Program } from "../helpers/program.ts";

const WRITER = join(import.meta.dirname, "../fixtures/history/writer.js");
const DAY = 86_400_000;
const NOW = Date.parse("2026-11-28T12:00:00Z");

let stateDir: string;
let folder: string;
const programs: Program[] = [];
beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), "ptalk-history-"));
  folder = join(stateDir, "history");
});
afterEach(async () => {
  for (const program of programs.splice(0)) await program.kill();
  rmSync(stateDir, { recursive: true, force: true });
});

function record(text: string, more: Partial<HistoryRecord> = {}): HistoryRecord {
  const usual = { at: NOW, direction: "in", with: "bob", room: null, id: text, state: "delivered" } as const;
  return { ...usual, text, via: "direct", fingerprint: "SHA256:x", ...more };
}

const line = (...of: Parameters<typeof record>): string => `${JSON.stringify(historyJson(record(...of)))}\n`;

let written = 0;
/** A journal as another program has left it. */
function journalOf(content: string | Buffer, changedAt = NOW): string {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `bob.host.${String(written++).padStart(16, "0")}.jsonl`);
  writeFileSync(path, content);
  utimesSync(path, changedAt / 1000, changedAt / 1000);
  return path;
}

function journal(more: Partial<ConstructorParameters<typeof HistoryJournal>[0]> = {}): HistoryJournal {
  const onFailure = (error: Error): never => {
    throw error;
  };
  return new HistoryJournal({ stateDir, name: "alice", onFailure, ...more });
}

async function read(query: HistoryQuery = {}): Promise<HistoryRecord[]> {
  const records: HistoryRecord[] = [];
  for await (const one of readHistory(folder, query)) records.push(one);
  return records;
}

const textsOf = (records: readonly HistoryRecord[]): string[] => records.map(({ text }) => text);

async function until(holds: () => boolean): Promise<void> {
  const end = Date.now() + 30_000;
  while (!holds()) {
    if (Date.now() > end) throw new Error(`never held: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe("a journal", () => {
  it("has what was said, in a file that only its user reads", async () => {
    const said = [record("one"), record("zw\u00f6lf\n\0\u202e", { direction: "out", at: NOW + 1 })];
    const writer = journal();
    for (const one of said) writer.add(one);
    await writer.close();
    expect(await read()).toEqual(said);
    const [file = "", ...more] = readdirSync(folder);
    expect(more).toEqual([]);
    expect(file).toMatch(/^alice\.[A-Za-z0-9.-]+\.[0-9a-f]{16}\.jsonl$/);
    expect(statSync(join(folder, file)).mode & 0o777).toBe(0o600);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
  });

  it("is not begun while nothing is said", async () => {
    await journal().close();
    expect(await read()).toEqual([]);
    expect(() => readdirSync(folder)).toThrow("ENOENT");
  });

  it("is one a program, also of one name", async () => {
    const writers = [journal(), journal()];
    for (let i = 0; i < 100; i++) for (const [w, writer] of writers.entries()) writer.add(record(`${w} ${i}`));
    await Promise.all(writers.map((writer) => writer.close()));
    expect(readdirSync(folder)).toHaveLength(2);
    expect(new Set(textsOf(await read())).size).toBe(200);
  });

  it("goes on in another file when another program has removed it", async () => {
    const writer = journal();
    writer.add(record("before"));
    await writer.written();
    const [first = ""] = readdirSync(folder);
    unlinkSync(join(folder, first));
    writer.add(record("after"));
    await writer.close();
    expect(textsOf(await read())).toEqual(["after"]);
  });

  it("is left when it is large: whole files expire", async () => {
    const writer = journal();
    for (let i = 0; i < 10; i++) {
      writer.add(record("x".repeat(60_000), { id: String(i) }));
      for (let j = 0; j < 9; j++) writer.add(record("x".repeat(60_000), { id: `${i}.${j}` }));
      await writer.written();
    }
    await writer.close();
    expect(readdirSync(folder).length).toBeGreaterThan(1);
    expect(await read()).toHaveLength(100);
  });

  it("that cannot be written is told of once, and throws nothing", async () => {
    writeFileSync(folder, "a file where the folder should be");
    const failures: Error[] = [];
    const writer = journal({ onFailure: (error) => failures.push(error) });
    writer.add(record("one"));
    await writer.written();
    writer.add(record("two"));
    await expect(writer.addSynced(record("three"))).rejects.toThrow("not written");
    await writer.close();
    expect(failures).toEqual([expect.objectContaining({ code: "ENOTDIR" })]);
  });
});

describe("what was said is read", () => {
  it("in the order of its time, from all journals", async () => {
    journalOf(line("2", { at: NOW + 2 }) + line("4", { at: NOW + 4 }));
    journalOf(line("1", { at: NOW + 1 }) + line("3", { at: NOW + 3 }) + line("5", { at: NOW + 5 }));
    expect(textsOf(await read())).toEqual(["1", "2", "3", "4", "5"]);
    expect(textsOf(await read({ last: 2 }))).toEqual(["4", "5"]);
    expect(textsOf(await read({ since: NOW + 2, until: NOW + 4 }))).toEqual(["2", "3"]);
    expect(textsOf(await read({ grep: /[35]/g }))).toEqual(["3", "5"]);
  });

  it("the last ones, wherever they are", async () => {
    for (let day = 1; day <= 5; day++) {
      const at = NOW - day * DAY;
      journalOf(line(`${day} a`, { at }) + line(`${day} b`, { at: at + 1 }), at + 1);
    }
    expect(textsOf(await read({ last: 3 }))).toEqual(["2 b", "1 a", "1 b"]);
    expect(textsOf(await read({ last: 100 }))).toHaveLength(10);
  });

  it("of one partner, however the name is spelled", async () => {
    journalOf(line("1", { with: "\u00c9lise" }) + line("2", { with: "bob" }));
    expect(textsOf(await read({ with: "\u00e9LISE" }))).toEqual(["1"]);
  });

  it("with broken lines left out and counted, and what is behind them", async () => {
    const torn = line("torn").slice(0, 30);
    journalOf(
      Buffer.concat([
        Buffer.from(line("1")),
        Buffer.from(`${torn}\n`), // half a line
        Buffer.from('{"at":"2026-11-28T12:00:00Z"}\n[]\nnull\n'), // no records
        Buffer.from([0x7b, 0xff, 0xfe, 0x0a]), // no UTF-8
        Buffer.alloc(4096), // a power cut
        Buffer.from(line("2")),
        Buffer.from(`${"x".repeat(2_000_000)}\n`),
        Buffer.from(line("3")),
        Buffer.from(torn), // a killed program
      ]),
    );
    journalOf(line("4"));
    let broken = 0;
    const onBroken = (lines: number): void => {
      broken += lines;
    };
    expect(textsOf(await read({ onBroken })).sort()).toEqual(["1", "2", "3", "4"]);
    expect(broken).toBe(8);
  });

  it("from regular files of that name only", async () => {
    const path = journalOf(line("1"));
    symlinkSync(path, join(folder, "link.host.aaaaaaaaaaaaaaaa.jsonl"));
    mkdirSync(join(folder, "dir.host.aaaaaaaaaaaaaaaa.jsonl"));
    writeFileSync(join(folder, "notes.txt"), line("2"));
    expect(textsOf(await read())).toEqual(["1"]);
  });

  it("as it is said, by programs that begin later too, until the signal", async () => {
    const stop = new AbortController();
    const seen: string[] = [];
    const first = journalOf(line("past"), Date.now());
    const following = (async () => {
      for await (const { text } of readHistory(folder, { follow: true, signal: stop.signal })) seen.push(text);
    })();
    await until(() => seen.length === 1);
    appendFileSync(first, line("more").slice(0, 40));
    const writer = journal();
    writer.add(record("a new journal"));
    await until(() => seen.length === 2);
    appendFileSync(first, line("more").slice(40));
    await until(() => seen.length === 3);
    stop.abort();
    await following;
    await writer.close();
    expect(seen).toEqual(["past", "a new journal", "more"]);
  });
});

describe("old journals go", () => {
  it("whole, by their last record, whatever the file's time is", async () => {
    const old = journalOf(line("old", { at: NOW - 100 * DAY }), NOW);
    const young = journalOf(
      line("old", { at: NOW - 100 * DAY }) + line("young", { at: NOW - 80 * DAY }),
      NOW - 200 * DAY,
    );
    const torn = journalOf(`${line("young", { at: NOW - 80 * DAY })}{"at":`, NOW - 200 * DAY);
    const unreadable = journalOf("nothing of ours\n", NOW - 100 * DAY);
    const own = journalOf(line("own", { at: NOW - 100 * DAY }));
    await expireJournals(folder, { days: 90, except: own, now: NOW });
    const left = readdirSync(folder).map((file) => join(folder, file));
    expect(left.sort()).toEqual([young, torn, own].sort());
    expect([old, unreadable].filter((path) => left.includes(path))).toEqual([]);
  });

  it("the oldest first where there are too many bytes", async () => {
    const paths = [3, 1, 2].map((days) => journalOf(line("x".repeat(1000), { at: NOW - days * DAY })));
    await expireJournals(folder, { days: 90, except: "", maxBytes: 5000, now: NOW });
    expect(
      readdirSync(folder)
        .map((file) => join(folder, file))
        .sort(),
    ).toEqual(paths.slice(1).sort());
  });

  it("when a program begins its own", async () => {
    journalOf(line("long ago", { at: Date.now() - 8 * DAY }));
    journalOf(line("lately", { at: Date.now() - 6 * DAY }));
    const writer = journal({ days: 7 });
    writer.add(record("now", { at: Date.now() }));
    await until(() => readdirSync(folder).length === 2);
    await writer.close();
    expect(textsOf(await read())).toEqual(["lately", "now"]);
  });
});

function writer(name: string): Program {
  const program = new Program(process.execPath, [WRITER, stateDir, name]);
  programs.push(program);
  return program;
}

describe("killed while writing", () => {
  it("a program leaves whole lines and at most one broken one, and harms no other", async () => {
    const stays = writer("stays");
    const KILLS = 8;
    const promised: number[] = [];
    for (let kill = 0; kill < KILLS; kill++) {
      const doomed = writer(`doomed${kill}`);
      let count = Number(await doomed.line());
      for (let more = 0; more < kill * 3; more++) count = Number(await doomed.line());
      await doomed.kill();
      promised.push(count);
    }
    const alive = Number(await stays.line());
    await stays.kill();
    for (const [kill, count] of promised.entries()) {
      const [file = ""] = readdirSync(folder).filter((each) => each.startsWith(`doomed${kill}.`));
      const lines = readFileSync(join(folder, file)).toString("latin1").split("\n");
      const last = lines.pop() ?? "";
      expect(lines.every((each, n) => parseRecord(Buffer.from(each, "latin1"))?.id === `doomed${kill}-${n}`)).toBe(
        true,
      );
      expect(last === "" || parseRecord(Buffer.from(last, "latin1")) === null).toBe(true);
      expect(lines.length).toBeGreaterThanOrEqual(count);
    }
    const ids = (await read({ with: "stays" })).map(({ id }) => id);
    expect(ids.length).toBeGreaterThanOrEqual(alive);
    expect(ids.every((id, n) => id === `stays-${n}`)).toBe(true);
  });

  it("two programs that write at once are read whole, each in its order", async () => {
    const both = [writer("one"), writer("two")];
    const counts = await Promise.all(
      both.map(async (each) => {
        for (let i = 0; i < 20; i++) await each.line();
        return Number(await each.line());
      }),
    );
    for (const each of both) await each.kill();
    for (const [index, name] of ["one", "two"].entries()) {
      const ids = (await read({ with: name })).map(({ id }) => id);
      expect(ids.length).toBeGreaterThanOrEqual(counts[index] ?? 0);
      expect(ids.every((id, n) => id === `${name}-${n}`)).toBe(true);
    }
  });
});
