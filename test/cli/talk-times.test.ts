// Times beside messages, the line when the day changes, and the bell.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadConfig } from "../../lib/cli/config.ts";
import { Bell } from "../../lib/cli/talk/bell.ts";
import { DayClock } from "../../lib/cli/talk/day-clock.ts";
import { strftime } from "../../lib/cli/times.ts";
import { User } from "../helpers/cli.ts";
import { Serving } from "../helpers/serving.ts";
import { TalkScreen } from "../helpers/talk-screen.ts";

const EVENING = new Date(2026, 10, 28, 23, 59, 7).getTime();
const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

describe("times", () => {
  it("have the form of strftime", () => {
    expect(strftime("%H:%M", EVENING)).toBe("23:59");
    expect(strftime("[%Y-%m-%d %I:%M:%S %p] 100%%", EVENING)).toBe("[2026-11-28 11:59:07 PM] 100%");
    expect(strftime("%I%p", new Date(2026, 0, 1, 0, 30).getTime())).toBe("12AM");
  });

  it("a day is told once, when it is another one than before", () => {
    const clock = new DayClock("%H:%M", EVENING);
    expect(clock.turn(EVENING + 1000)).toBeNull();
    expect(clock.turn(EVENING + MINUTE)).toBe("Sunday, 2026-11-29");
    expect(clock.turn(EVENING + 2 * MINUTE)).toBeNull();
    expect(clock.stamp(EVENING + MINUTE)).toBe("00:00 ");
  });

  it("off: neither times nor days", () => {
    const clock = new DayClock("off", EVENING);
    expect([clock.stamp(EVENING), clock.turn(EVENING + DAY)]).toEqual(["", null]);
  });

  it.each(["%Q", "%", "\x1b[2J%H", "x".repeat(33), ""])("%j is refused as time-format", async (timeFormat) => {
    using user = new User();
    await expect(loadConfig({ timeFormat }, user.env, "/nonexistent")).rejects.toMatchObject({ code: "usage" });
  });

  it("a bell that is none is refused", async () => {
    using user = new User();
    await expect(loadConfig({}, { ...user.env, PTALK_BELL: "loud" }, "/nonexistent")).rejects.toMatchObject({
      code: "bad-config",
      message: 'PTALK_BELL: expected "direct", "all", "off", not "loud"',
    });
  });
});

describe("the bell", () => {
  it("rings once for what comes within a second, and again after it", () => {
    let rings = 0;
    const bell = new Bell("direct", () => rings++);
    for (const at of [1000, 1001, 1999, 2000, 2500]) bell.onMessage(at);
    expect(rings).toBe(2);
  });

  it("rings once for messages that were left, however long their coming takes, and again for the next one", () => {
    let rings = 0;
    const bell = new Bell("direct", () => rings++);
    for (let at = 0; at < 10_000; at += 400) bell.onMessage(at, true, true);
    expect(rings).toBe(1);
    bell.onMessage(10_000, true);
    expect(rings).toBe(2);
    bell.onMessage(20_000, true, true);
    expect(rings).toBe(3);
  });

  it("off: never", () => {
    const bell = new Bell("off", () => expect.unreachable());
    bell.onMessage();
  });
});

const BEL = "\x07";
const rings = (screen: TalkScreen): number => screen.raw.split(BEL).length - 1;

describe("at a terminal", () => {
  it("the time stands beside each message, and the day above the first of another day", async () => {
    using screen = await TalkScreen.open({ env: { TIME_FORMAT: "%H:%M", TZ: "UTC" } });
    const tomorrow = Date.now() + DAY;
    await screen.does("sent", { id: "1", to: "bob", at: tomorrow }, "hello");
    await screen.does("delivered", { id: "1", to: "bob", at: tomorrow, ms: 12, room: null });
    const from = { id: "2", from: "bob", text: "one\ntwo", fingerprint: "SHA256:x", verified: true, room: null };
    await screen.does("message", { ...from, at: tomorrow });
    const time = new Date(tomorrow).toISOString().slice(11, 16);
    await screen.until((s) => s.lines().includes("           two"));
    const lines = screen.lines();
    const day = lines.findIndex((line) => /^\* \w+day, \d{4}-\d\d-\d\d$/.test(line));
    expect(lines.slice(day + 1, day + 4)).toEqual([
      `${time} ✓ → bob: hello 12 ms`,
      `${time} bob: one`,
      "           two",
    ]);
    expect(lines.filter((line) => /^\* \w+day, /.test(line))).toHaveLength(1);
  });

  it("a message rings, what one sends does not", async () => {
    using screen = await TalkScreen.open({ env: { BELL: "direct" } });
    await screen.does("sent", { id: "1", to: "bob", at: 0 }, "hello");
    await screen.does("delivered", { id: "1", to: "bob", at: 0, ms: 12, room: null });
    expect(rings(screen)).toBe(0);
    for (let i = 0; i < 3; i++) await screen.message("bob", `message ${i}`);
    await screen.until((s) => rings(s) === 1);
    await screen.shows("message 2");
    expect(rings(screen)).toBe(1);
  });

  it("off: nothing rings", async () => {
    using screen = await TalkScreen.open({ env: { BELL: "off" } });
    await screen.message("bob", "hello");
    await screen.shows("bob: hello");
    expect(rings(screen)).toBe(0);
  });
});

describe("on a pipe", () => {
  let server: Serving;
  beforeAll(async () => {
    server = await Serving.start();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  it("for people the time stands there too, and nothing rings", async () => {
    using bob = new User();
    using alice = new User({ PTALK_TIME_FORMAT: "<%H>" });
    const receiver = alice.start(["--as", "alice", "--server", server.address]);
    receiver.say("/list"); // answered once she is on
    while (!(await receiver.line()).startsWith("NAME"));
    expect((await bob.run(["send", "--as", "bob", "--server", server.address, "alice", "hello"])).code).toBe(0);
    let line = "";
    while (!line.includes("hello")) line = await receiver.line();
    expect(line).toMatch(/^<\d\d> bob: hello$/);
    receiver.say("Exit");
    await receiver.ended;
  });
});
