import { describe, expect, it } from "vitest";
import { clientTable, localTable, messageLines, table } from "../../lib/cli/format.ts";
import { clientJson, iso } from "../../lib/cli/json.ts";
import { painter, plain } from "../../lib/cli/style.ts";
import { duration } from "../../lib/cli/times.ts";

const at = Date.parse("2026-11-23T12:00:00.123Z");
const client = {
  name: "漢字",
  address: "::1",
  port: 7,
  host: "h\x1b[2J",
  startedAt: at,
  lastLookupAt: null,
  fingerprint: "SHA256:x",
};

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
    expect(clientTable([client], plain)[1]).toMatch(
      /^漢字 {2}\[::1\]:7 {2}h\^\[\[2J {2}\d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}-$/,
    );
    expect(clientTable([], plain)).toEqual(["nobody is on"]);
    expect(localTable([], plain)).toEqual(["nobody is on, on this machine"]);
  });

  it("messages have a mark when the sender is not verified", () => {
    const message = { id: "1", from: "bob", text: "a\nb", at, fingerprint: "", verified: false };
    expect(messageLines(message, plain)).toEqual(["bob?: a", "      b"]);
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
  it("times are ISO 8601 UTC with milliseconds", () => {
    expect(clientJson(client)).toEqual({ ...client, startedAt: "2026-11-23T12:00:00.123Z", lastLookupAt: null });
  });
  it("a time that is none does no harm", () => {
    expect(iso(Number.NaN)).toBe("1970-01-01T00:00:00.000Z");
    expect(iso(1e300)).toBe("1970-01-01T00:00:00.000Z");
  });
});
