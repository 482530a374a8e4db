import { describe, expect, it } from "vitest";
import { TalkError } from "../../lib/base/errors.ts";
import { withAdvice } from "../../lib/cli/advice.ts";
import { exitStatusOf } from "../../lib/cli/exit-status.ts";

describe("TalkError", () => {
  it.each([
    [TalkError.noSuchUser("bob"), "no-such-user", 67],
    [TalkError.notDelivered("bob", "no answer within 10 s"), "not-delivered", 75],
    [TalkError.keyMismatch("bob", "SHA256:a", "SHA256:b"), "key-mismatch", 77],
    [TalkError.knownUnderAnotherKey("bob"), "key-mismatch", 77],
    [TalkError.declined("bob", "it takes no messages"), "declined", 77],
    [TalkError.notUnderstood("bob", "its version is older"), "not-understood", 69],
    [TalkError.tooLong(70_000, 65_536), "too-long", 65],
    [TalkError.badName("-x", "it starts with a dash"), "bad-name", 65],
    [TalkError.badData("not UTF-8"), "bad-data", 65],
    [TalkError.nameTaken("bob"), "name-taken", 73],
    [TalkError.unreachable("h:1", "connection refused"), "unreachable", 69],
    [TalkError.full(4096), "full", 69],
    [TalkError.refused("bad signature"), "refused", 77],
    [TalkError.usage("no NAME"), "usage", 64],
    [TalkError.badConfig("config.toml", "unknown key"), "bad-config", 64],
    [TalkError.internal("no way"), "internal", 70],
  ])("%s has code %s and exit status %d", (error, code, exit) => {
    expect(error.code).toBe(code);
    expect(exitStatusOf(error)).toBe(exit);
  });

  it("shows both fingerprints and the way out of a changed key", () => {
    const message = withAdvice(TalkError.keyMismatch("bob", "SHA256:old", "SHA256:new"));
    expect(message).toMatch(/SHA256:old.*SHA256:new.*ptalk key forget bob/);
  });

  it("never repeats control characters of a foreign name", () => {
    const { message } = TalkError.noSuchUser("a\x1b[2J\u202eb");
    expect(message).toBe('no user "a<U+001B>[2J<U+202E>b" is on');
  });

  it("maps permission errors of the system to 77 and the unforeseen to 70", () => {
    expect(exitStatusOf(Object.assign(new Error("x"), { code: "EACCES" }))).toBe(77);
    expect(exitStatusOf(new RangeError("x"))).toBe(70);
    expect(exitStatusOf("thrown text")).toBe(70);
  });
});
