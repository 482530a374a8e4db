import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ServerNews } from "../../lib/cli/talk/server-news.ts";
import { span } from "../../lib/cli/times.ts";

let said: string[];
let news: ServerNews;
beforeEach(() => {
  vi.useFakeTimers();
  said = [];
  news = new ServerNews((text) => said.push(text));
});
afterEach(() => {
  news[Symbol.dispose]();
  expect(process.listenerCount("SIGCONT")).toBe(0);
  vi.useRealTimers();
});

/** The clock goes on, and nothing of the program does. */
const stopFor = (ms: number): void => {
  vi.setSystemTime(Date.now() + ms);
  const { performance } = globalThis;
  const before = performance.now();
  vi.spyOn(performance, "now").mockImplementation(() => before + ms + (Date.now() - frozenAt));
  const frozenAt = Date.now();
};
const goOn = (ms: number): void => void vi.advanceTimersByTime(ms);

const SERVER = { address: "127.0.0.1:5518", uid: 0, user: "root" };
const STOPPED = /^stopped for (\d+ s|\d+ min): who wrote to you meanwhile may have given up$/;

describe("a program that was stopped for long", () => {
  it("says so once, and nothing of the server that it comes back to", () => {
    goOn(60_000);
    stopFor(100_000);
    news.hear({ ...SERVER, state: "lost" }); // what has come meanwhile may be heard of before anything else
    goOn(500);
    news.hear({ ...SERVER, state: "back" });
    goOn(60_000);
    expect(said).toEqual(["stopped for 100 s: who wrote to you meanwhile may have given up"]);
  });

  it("says so when it goes on, whatever the server does", () => {
    stopFor(3_600_000);
    process.emit("SIGCONT", "SIGCONT");
    expect(said).toEqual([expect.stringMatching(STOPPED)]);
    goOn(60_000);
    expect(said).toHaveLength(1);
  });

  it("says that the server is gone, if it is not back soon", () => {
    stopFor(100_000);
    news.hear({ ...SERVER, state: "lost" });
    goOn(20_000);
    expect(said).toEqual([expect.stringMatching(STOPPED), expect.stringContaining("the lookup server is gone")]);
    news.hear({ ...SERVER, state: "back" });
    expect(said.at(-1)).toBe("the lookup server is back");
  });
});

describe("a program that was not", () => {
  it("says what the server does", () => {
    goOn(60_000);
    for (const state of ["closing", "lost", "back"] as const) news.hear({ ...SERVER, state });
    expect(said).toEqual([
      expect.stringContaining("shutting down"),
      expect.stringContaining("gone"),
      "the lookup server is back",
    ]);
  });

  it("says nothing of a short stop", () => {
    stopFor(5_000);
    process.emit("SIGCONT", "SIGCONT");
    news.hear({ ...SERVER, state: "lost" });
    expect(said).toEqual([expect.stringContaining("the lookup server is gone")]);
  });
});

it.each([
  [11_400, "11 s"],
  [119_000, "119 s"],
  [150_000, "3 min"],
  [7_100_000, "118 min"],
  [100_000_000, "28 h"],
])("%d ms are %s", (ms, text) => {
  expect(span(ms)).toBe(text);
});
