import { describe, expect, it } from "vitest";
import { clientTable, localTable, messageLines, table } from "../../lib/cli/format.ts";
import { iso } from "../../lib/cli/json.ts";
import { painter, plain } from "../../lib/cli/style.ts";
import { duration } from "../../lib/cli/times.ts";
import { DirectoryEntry, packEntry } from "../../lib/directory/entry.ts";

const at = Date.parse("2026-11-23T12:00:00.123Z");
const KEY = Buffer.alloc(32, 1).toString("base64");
// A server that nobody should trust may send such a host: what is packed by hand is not checked.
const hostile = new DirectoryEntry({ name: "漢字", key: KEY, startedAt: at, details: "2\x1f::1 7 h\x1fh\x1b[2J" });

describe("for people", () => {
  it("tables line up by columns of the screen, and hold no control characters", () => {
    expect(
      table(
        ["A", "B"],
        [
          ["漢字", "x"],
          ["e\u0301", "y"],
        ],
        plain,
      ),
    ).toEqual(["A     B", "漢字  x", "e\u0301     y"]);
    expect(clientTable([hostile], plain)[1]).toMatch(
      /^漢字 {2}\[::1\]:7 {2}h\^\[\[2J {2}\d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}-$/,
    );
    expect(clientTable([], plain)).toEqual(["nobody is on"]);
    expect(localTable([], plain)).toEqual(["nobody is on, on this machine"]);
  });

  it("List fits into 80 columns", () => {
    const who = {
      name: "margaret",
      user: "margaret",
      uid: 1000,
      pid: 1234567,
      tty: "/dev/pts/12",
      sent: 1234,
      received: 567,
    };
    const row = { ...who, address: "127.0.0.1", port: 4000, startedAt: Date.now(), lastMessageAt: at };
    for (const server of ["127.0.0.1:5518", "10.100.200.30:15518"]) {
      const lines = localTable([{ ...row, server }], plain);
      expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
      expect(lines.join("\n").includes(server)).toBe(server !== "127.0.0.1:5518");
    }
  });

  it("messages have a mark when the sender is not verified", () => {
    const message = { id: "1", from: "bob", text: "a\nb", at, fingerprint: "", verified: false };
    expect(messageLines(message, plain)).toEqual(["bob?: a", "      b"]);
    expect(messageLines(message, plain, "14:05 ")).toEqual(["14:05 bob?: a", "            b"]);
  });

  it("durations are short", () => {
    expect([0.1234, 12.3, 999, 3456].map(duration)).toEqual(["0.12 ms", "12 ms", "999 ms", "3.5 s"]);
  });

  it("colours only where they belong", () => {
    expect(painter({ isTTY: true }, { TERM: "xterm" })("red", "x")).toBe("\x1b[31mx\x1b[0m");
    expect(painter({ isTTY: true }, { TERM: "xterm", NO_COLOR: "" })("red", "x")).not.toBe("x");
    for (const [stream, env] of [
      [{ isTTY: false }, { TERM: "xterm" }],
      [{ isTTY: true }, { TERM: "dumb" }],
      [{ isTTY: true }, { NO_COLOR: "1" }],
    ] as const) {
      expect(painter(stream, env)("red", "x")).toBe("x");
    }
  });
});

describe("for programs", () => {
  it("an entry has one form, with times in ISO 8601 UTC with milliseconds", () => {
    const status = { state: "away", text: "lunch", since: at + 1 } as const;
    const fields = {
      name: "bob",
      key: KEY,
      host: "lab",
      startedAt: at,
      user: "bob",
      uid: 1000,
      attested: "kernel",
    } as const;
    const endpoints = [{ address: "192.0.2.1", port: 7, kind: "observed" } as const];
    const entry = new DirectoryEntry(packEntry({ ...fields, endpoints, status, rooms: ["#ops"] }), at + 2);
    expect(JSON.parse(JSON.stringify(entry))).toEqual({
      ...fields,
      address: "192.0.2.1",
      port: 7,
      fingerprint: expect.stringMatching(/^SHA256:/),
      startedAt: "2026-11-23T12:00:00.123Z",
      lastLookupAt: "2026-11-23T12:00:00.125Z",
      endpoints,
      protocol: 2,
      server: "",
      status: { state: "away", text: "lunch", since: "2026-11-23T12:00:00.124Z" },
      rooms: ["#ops"],
      stale: false,
    });
  });
  it("a time that is none does no harm", () => {
    expect(iso(Number.NaN)).toBe("1970-01-01T00:00:00.000Z");
    expect(iso(1e300)).toBe("1970-01-01T00:00:00.000Z");
  });
});
