// The checker of `npm run chaos` is checked: it finds each planted fault in a journal that has no other, and passes over what the
// design allows.
import { describe, expect, it } from "vitest";
import { Random } from "../helpers/random.ts";
import { check, SETTLE_MS } from "./check.ts";
import type { Entry, Fact, ProgramKind } from "./journal.ts";
import { ALL_DIRECTORY_KINDS, MANY_CAST, ofManyServers } from "./many-cast.ts";
import { ALL_KINDS, type Cast, ofOneServer, storm } from "./schedule.ts";
import { readText, textOf } from "./texts.ts";

/** A journal that is written line by line, with a clock of its own. */
class Story {
  readonly entries: Entry[] = [];
  now = 0;
  #fault = 0;
  #revision = 0;

  say(who: string, fact: Fact): this {
    this.entries.push({ at: this.now, who, ...fact });
    return this;
  }
  after(ms: number): this {
    this.now += ms;
    return this;
  }
  comesOn(who: string, run: number, program: ProgramKind = "talk"): this {
    this.say(who, { type: "start", run, program, pid: 100 + run }).after(100);
    return this.say(who, { type: "on", run, fingerprint: `SHA256:${who}`, port: 1000 + run });
  }
  ends(who: string, run: number, how: "killed" | "left" | "itself", code: number | null = 0): this {
    if (how !== "itself") this.say(who, { type: "ending", run, how }).after(1);
    return this.say(who, { type: "end", run, how, code, signal: null, told: "" });
  }
  orders(who: string, run: number, number: number, to: string, rollCall = false): this {
    const token = `${run}.${number}`;
    this.say(who, { type: "order", run, token, to, timeoutMs: 30_000, rollCall });
    return this.say(who, { type: "sent", run, token, id: `id-${token}` }).after(1);
  }
  shows(who: string, run: number, from: string, token: string, more: Partial<Entry & { type: "got" }> = {}): this {
    const got = { type: "got", run, from, id: `id-${token}`, token, whole: true, verified: true } as const;
    return this.say(who, { ...got, fingerprint: `SHA256:${from}`, ...more }).after(1);
  }
  delivered(who: string, run: number, number: number): this {
    return this.#outcome(who, run, number, "delivered", null);
  }
  failed(who: string, run: number, number: number, code: string): this {
    return this.#outcome(who, run, number, "failed", code);
  }
  #outcome(who: string, run: number, number: number, state: "delivered" | "failed", code: string | null): this {
    const token = `${run}.${number}`;
    return this.say(who, { type: "outcome", run, token, id: `id-${token}`, state, code }).after(1);
  }
  tells(who: string, run: number, number: number, to: string, toRun: number): this {
    return this.orders(who, run, number, to).shows(to, toRun, who, `${run}.${number}`).delivered(who, run, number);
  }
  disturbs(kind: string, target: string, forMs: number): this {
    const fault = ++this.#fault;
    this.say("world", { type: "fault", fault, kind, target }).after(forMs);
    return this.say("world", { type: "mended", fault });
  }
  leases(server: string, incarnation: string, isThere = true): this {
    return this.say("engine", { type: "lease", revision: ++this.#revision, server, incarnation, isThere });
  }
  writes(server: string, incarnation: string, name: string, fingerprint = `SHA256:${name}`): this {
    const claimId = `claim-${this.#revision}`;
    const revision = ++this.#revision;
    return this.say("engine", { type: "row", revision, name, fingerprint, server, incarnation, claimId });
  }
  removes(name: string): this {
    const nobody = { fingerprint: null, server: "", incarnation: "", claimId: "" };
    return this.say("engine", { type: "row", revision: ++this.#revision, name, ...nobody });
  }
  /** @param fingerprint null: nobody */
  sees(server: string, name: string, fingerprint: string | null, isStale = false): this {
    const asked = this.now;
    return this.after(5).say("lookout", { type: "seen", server, name, asked, fingerprint, isStale });
  }
  sample(role: string, descriptors: number, residentBytes: number): this {
    return this.say("world", { type: "sample", role, pids: [7], descriptors, residentBytes });
  }
}

/** ann and bob are on, have met, and nothing has happened for a while. */
function calm(): Story {
  const story = new Story().comesOn("ann", 1).comesOn("bob", 2);
  return story
    .tells("ann", 1, 0, "bob", 2)
    .tells("bob", 2, 0, "ann", 1)
    .after(2 * SETTLE_MS);
}

const found = (story: Story, knowsUnconfirmed = true) =>
  check(story.entries, { knowsUnconfirmed }).map(({ rule }) => rule);

describe("a planted fault", () => {
  it("delivered and never shown: lost", () => {
    const story = calm().orders("ann", 1, 1, "bob").delivered("ann", 1, 1);
    expect(found(story)).toEqual(["lost"]);
    expect(check(story.entries, { knowsUnconfirmed: true })[0]?.lines.map(({ type }) => type)).toEqual([
      "order",
      "sent",
      "outcome",
    ]);
  });

  it("shown twice by one program", () => {
    expect(found(calm().tells("ann", 1, 1, "bob", 2).shows("bob", 2, "ann", "1.1"))).toEqual(["twice"]);
  });

  it("shown again by a successor, although its sender knew", () => {
    const story = calm().tells("ann", 1, 1, "bob", 2).after(5).ends("bob", 2, "killed").comesOn("bob", 3);
    expect(found(story.shows("bob", 3, "ann", "1.1"))).toEqual(["twice"]);
  });

  it("exchanged", () => {
    const story = calm().orders("ann", 1, 1, "bob").orders("ann", 1, 2, "bob");
    story.shows("bob", 2, "ann", "1.2").shows("bob", 2, "ann", "1.1").delivered("ann", 1, 2).delivered("ann", 1, 1);
    expect(found(story)).toEqual(["order"]);
  });

  it("exchanged, on both sides of the receiver's death", () => {
    const story = calm().orders("ann", 1, 1, "bob").orders("ann", 1, 2, "bob").shows("bob", 2, "ann", "1.2");
    story.ends("bob", 2, "killed").comesOn("bob", 3).shows("bob", 3, "ann", "1.1");
    expect(found(story.delivered("ann", 1, 1).delivered("ann", 1, 2))).toEqual(["order"]);
  });

  it("not verified, although each has the other's key", () => {
    const story = calm().orders("ann", 1, 1, "bob").shows("bob", 2, "ann", "1.1", { verified: false });
    expect(found(story.delivered("ann", 1, 1))).toEqual(["unverified"]);
  });

  it("under another key", () => {
    const story = calm().orders("ann", 1, 1, "bob").shows("bob", 2, "ann", "1.1", { fingerprint: "SHA256:eve" });
    expect(found(story.delivered("ann", 1, 1))).toEqual(["identity"]);
  });

  it.each([
    ["cut short", { whole: false }],
    ["without a token", { token: null }],
    ["from somebody else", { from: "cat" }],
  ])("a text %s", (_, more) => {
    const story = calm().orders("ann", 1, 1, "bob").shows("bob", 2, "ann", "1.1").delivered("ann", 1, 1);
    expect(found(story.shows("bob", 2, "ann", "1.1", more))).toContain("damaged");
  });

  it("nobody of that name, in the middle of a conversation", () => {
    const story = calm().tells("ann", 1, 1, "bob", 2).disturbs("link", "bob", 50);
    expect(found(story.orders("ann", 1, 2, "bob").failed("ann", 1, 2, "no-such-user"))).toEqual(["no-such-user"]);
  });

  it("nobody of that name, who is on and undisturbed, right after the server's restart", () => {
    const story = calm().disturbs("primary", "server", 500).comesOn("cat", 3);
    expect(found(story.orders("cat", 3, 0, "bob").failed("cat", 3, 0, "no-such-user"))).toEqual(["no-such-user"]);
  });

  it.each(["key-mismatch", "refused"])("refused as %s, by the sender and by the receiver", (code) => {
    const story = calm().orders("ann", 1, 1, "bob").failed("ann", 1, 1, code);
    story.say("bob", { type: "error", run: 2, code, message: "a stranger" });
    expect(found(story)).toEqual(["refused", "refused"]);
  });

  it("given up, although both ends were on and undisturbed before its time was over", () => {
    const story = calm().orders("ann", 1, 1, "bob").ends("bob", 2, "killed").comesOn("bob", 3).after(30_000);
    expect(found(story.failed("ann", 1, 1, "not-delivered"))).toEqual(["given-up"]);
  });

  it("given up in the middle of a conversation, whatever becomes of servers and their engine", () => {
    const story = () =>
      calm().orders("ann", 1, 1, "bob").disturbs("primary", "server", 9_000).disturbs("etcd", "*", 9_000);
    expect(found(story().failed("ann", 1, 1, "not-delivered"))).toEqual(["given-up"]);
    expect(found(story().disturbs("stop", "bob", 9_000).failed("ann", 1, 1, "not-delivered"))).toEqual([]);
    // Their conversation may go over a server still.
    const cut = calm().say("world", { type: "fault", fault: 8, kind: "path-cut", target: "bob" }).after(50);
    cut
      .say("world", { type: "mended", fault: 8 })
      .after(SETTLE_MS)
      .tells("ann", 1, 1, "bob", 2)
      .orders("ann", 1, 2, "bob");
    expect(found(cut.disturbs("primary", "server", 12_000).failed("ann", 1, 2, "not-delivered"))).toEqual([]);
  });

  it("given up by a send, whatever happened to the program of the same name", () => {
    const story = calm().say("ann", { type: "start", run: 3, program: "send", pid: 103 }).orders("ann", 3, 0, "bob");
    story.after(25_000).disturbs("client", "ann", 500).after(2_000).failed("ann", 3, 0, "not-delivered");
    expect(found(story)).toEqual(["given-up"]);
  });

  it("no server, when only a worker had died", () => {
    const story = calm().say("cat", { type: "start", run: 3, program: "send", pid: 103 });
    story.orders("cat", 3, 0, "bob").disturbs("worker", "server", 0).failed("cat", 3, 0, "unreachable");
    expect(found(story)).toEqual(["unreachable"]);
  });

  it("failed, and shown", () => {
    const story = calm().orders("ann", 1, 1, "bob").shows("bob", 2, "ann", "1.1").failed("ann", 1, 1, "not-delivered");
    expect(found(story)).toEqual(["shown-after-failed"]);
    expect(found(story, false)).toEqual([]);
  });

  it("without an outcome when its sender has left, with two, with one that cannot be", () => {
    expect(found(calm().orders("ann", 1, 1, "bob").ends("ann", 1, "left"))).toEqual(["outcome"]);
    expect(found(calm().tells("ann", 1, 1, "bob", 2).delivered("ann", 1, 1))).toEqual(["outcome"]);
    expect(found(calm().orders("ann", 1, 1, "bob").failed("ann", 1, 1, "internal"))).toEqual(["outcome"]);
  });

  it("the roll call is not answered", () => {
    expect(found(calm().orders("ann", 1, 1, "bob", true))).toEqual(["roll-call"]);
    const story = calm().orders("ann", 1, 1, "bob", true).failed("ann", 1, 1, "not-delivered");
    expect(found(story)).toEqual(["roll-call"]);
  });

  it("a program ends by itself, cannot start, hangs", () => {
    expect(found(calm().ends("ann", 1, "itself", 70))).toEqual(["died"]);
    const start = calm().say("cat", { type: "start", run: 3, program: "talk", pid: 103 }).after(50);
    expect(found(start.ends("cat", 3, "itself", 69))).toEqual(["not-started"]);
    expect(found(calm().say("ann", { type: "hang", run: 1, what: "did not leave" }))).toEqual(["hangs"]);
  });

  it("the server lists a ghost, and misses somebody", () => {
    const people = { type: "people", expected: ["ann", "bob"] } as const;
    expect(found(calm().say("world", { ...people, listed: ["ann", "bob", "cat"] }))).toEqual(["people"]);
    expect(found(calm().say("world", { ...people, listed: ["bob"] }))).toEqual(["people"]);
    expect(found(calm().say("world", { ...people, listed: ["bob", "ann"] }))).toEqual([]);
  });

  it("leaks: descriptors, memory, CPU, shared memory", () => {
    const MIB = 1024 * 1024;
    expect(
      found(
        calm()
          .sample("ann", 20, 60 * MIB)
          .sample("ann", 24, 90 * MIB),
      ),
    ).toEqual([]);
    expect(
      found(
        calm()
          .sample("ann", 20, 60 * MIB)
          .sample("ann", 84, 60 * MIB),
      ),
    ).toEqual(["descriptors"]);
    expect(
      found(
        calm()
          .sample("ann", 20, 60 * MIB)
          .sample("ann", 20, 260 * MIB),
      ),
    ).toEqual(["memory"]);
    const rest = { type: "rest", role: "ann", pid: 101, wallMs: 4_000 } as const;
    expect(found(calm().say("world", { ...rest, cpuMs: 10 }))).toEqual([]);
    expect(found(calm().say("world", { ...rest, cpuMs: 4_000 }))).toEqual(["cpu"]);
    expect(found(calm().say("world", { type: "left-behind", files: ["ptalk-server-1"] }))).toEqual(["left-behind"]);
  });
});

/** ann and bob are on at two servers of one directory, and nothing has happened for a while. */
function shared(): Story {
  const story = new Story().leases("s1", "a").leases("s2", "b");
  story.comesOn("ann", 1).writes("s1", "a", "ann").comesOn("bob", 2).writes("s2", "b", "bob");
  return story.after(2 * SETTLE_MS);
}

describe("in a directory that servers share, a planted fault", () => {
  it("nothing, for a start", () => {
    expect(found(shared().sees("s2", "ann", "SHA256:ann").sees("s1", "max", null))).toEqual([]);
  });

  it("a name under two keys: in the engine, at a server, and for two who both were let on", () => {
    expect(found(shared().writes("s2", "b", "ann", "SHA256:eve"))).toEqual(["owner"]);
    expect(found(shared().sees("s2", "ann", "SHA256:eve"))).toEqual(["owner"]);
    const race = shared().writes("s1", "a", "new", "SHA256:x");
    for (const [run, fingerprint] of [
      [3, "SHA256:x"],
      [4, "SHA256:y"],
    ] as const) {
      race.say(`new.${run}`, { type: "start", run, program: "racer", pid: run });
      race.say(`new.${run}`, { type: "owns", run, name: "new", fingerprint });
    }
    expect(found(race).sort()).toEqual(["owner", "unbacked"]);
  });

  it("clients that are not back in time from a server that was killed", () => {
    const back = { type: "back", server: "s1", how: "primary", clients: 2, ms: 900 } as const;
    expect(found(shared().say("world", { ...back, missing: [] }))).toEqual([]);
    expect(found(shared().say("world", { ...back, missing: ["ann"] }))).toEqual(["late"]);
  });

  it("somebody is let on, and no row is written", () => {
    const story = shared().ends("ann", 1, "left").removes("ann").after(1_000).comesOn("ann", 3);
    expect(found(story)).toEqual(["unbacked"]);
    expect(found(story.writes("s2", "b", "ann"))).toEqual([]);
  });

  it("a row written by a server whose key is gone, or never was there", () => {
    expect(found(shared().leases("s1", "a", false).writes("s1", "a", "ann"))).toEqual(["ghost"]);
    expect(found(shared().writes("s1", "z", "ann"))).toEqual(["ghost"]);
    expect(found(shared().leases("s1", "a", false).leases("s1", "c").writes("s1", "c", "ann"))).toEqual([]);
  });

  it("a row removed, whose client is on and undisturbed, as is its server", () => {
    expect(found(shared().removes("ann"))).toEqual(["removed"]);
    expect(found(shared().disturbs("primary", "s2", 100).removes("ann"))).toEqual(["removed"]);
    expect(found(shared().disturbs("primary", "s1", 100).removes("ann"))).toEqual([]);
    expect(found(shared().disturbs("stop", "ann", 9_000).removes("ann"))).toEqual([]);
    expect(found(shared().ends("ann", 1, "left").removes("ann"))).toEqual([]);
    expect(found(shared().leases("s1", "a", false).removes("ann"))).toEqual([]); // a dead server's
  });

  it("nobody, of whom the engine has a row", () => {
    expect(
      found(
        shared()
          .sees("s2", "ann", null)
          .after(2 * SETTLE_MS),
      ),
    ).toEqual(["hidden"]);
    expect(found(shared().writes("s2", "b", "ann").sees("s2", "ann", null))).toEqual(["hidden"]);
    const gone = shared().leases("s1", "a", false).sees("s2", "ann", null);
    expect(found(gone)).toEqual([]);
    const fresh = shared().comesOn("cat", 3).writes("s1", "a", "cat").sees("s2", "cat", null);
    expect(found(fresh)).toEqual([]); // "nobody" counts for a second
  });

  it("a server that lists somebody else, of all or of a room", () => {
    const people = { type: "people", server: "s1", expected: ["ann"] } as const;
    expect(found(shared().say("world", { ...people, listed: ["ann", "bob"] }))).toEqual(["people"]);
    expect(found(shared().say("world", { ...people, room: "#ops", listed: [] }))).toEqual(["people"]);
  });

  it("a server that does not start although its engine is there", () => {
    const start = () => shared().say("s1", { type: "start", run: 9, program: "serve", pid: 9 }).after(10_000);
    expect(found(start().ends("s1", 9, "itself", 69))).toEqual(["not-started"]);
    expect(found(start().disturbs("etcd-cut", "*", 500).ends("s1", 9, "itself", 69))).toEqual([]);
    expect(found(start().disturbs("etcd-cut", "*", 500).ends("s1", 9, "itself", 70))).toEqual(["not-started"]);
  });
});

describe("what is allowed", () => {
  it("a text comes to a successor when its sender did not know yet that the first had shown it", () => {
    const story = calm().orders("ann", 1, 1, "bob").shows("bob", 2, "ann", "1.1").ends("bob", 2, "killed");
    expect(found(story.comesOn("bob", 3).shows("bob", 3, "ann", "1.1").delivered("ann", 1, 1))).toEqual([]);
  });

  it("a text comes to both of two programs while one takes over from the other, and to no other two", () => {
    const story = () => calm().say("bob", { type: "ending", run: 2, how: "replaced" }).comesOn("bob", 3);
    const both = (one: Story) => one.orders("ann", 1, 1, "bob").shows("bob", 3, "ann", "1.1").delivered("ann", 1, 1);
    expect(found(both(story()).shows("bob", 2, "ann", "1.1"))).toEqual([]);
    const ended = story()
      .say("bob", { type: "end", run: 2, how: "replaced", code: 1, signal: null, told: "" })
      .after(1);
    expect(found(both(ended).shows("bob", 2, "ann", "1.1"))).toEqual(["twice"]);
  });

  it("a sender is killed before it knows", () => {
    expect(found(calm().orders("ann", 1, 1, "bob").ends("ann", 1, "killed", null))).toEqual([]);
  });

  it("messages to somebody who is dead, or cut off, fail", () => {
    const dead = calm().ends("bob", 2, "killed").orders("ann", 1, 1, "bob").failed("ann", 1, 1, "no-such-user");
    expect(found(dead)).toEqual([]);
    const fresh = () => calm().comesOn("cat", 3).orders("cat", 3, 0, "bob");
    expect(found(fresh().disturbs("link", "bob", 5_000).failed("cat", 3, 0, "no-such-user"))).toEqual([]);
    const stopped = fresh().after(20_000).disturbs("stop", "bob", 9_000);
    expect(found(stopped.failed("cat", 3, 0, "not-delivered"))).toEqual([]);
  });

  it("messages that fail soon, and others that arrive meanwhile", () => {
    const story = calm().orders("ann", 1, 1, "bob").after(5_000).failed("ann", 1, 1, "not-delivered");
    expect(found(story.tells("ann", 1, 2, "bob", 2))).toEqual([]);
  });

  it("no server while it is down, and no start", () => {
    const story = calm().say("world", { type: "fault", fault: 9, kind: "primary", target: "server" });
    story.say("cat", { type: "start", run: 3, program: "talk", pid: 103 }).after(50).ends("cat", 3, "itself", 69);
    story.say("dan", { type: "start", run: 4, program: "send", pid: 104 }).orders("dan", 4, 0, "bob");
    story.failed("dan", 4, 0, "unreachable").ends("dan", 4, "itself", 69);
    expect(found(story.say("world", { type: "mended", fault: 9 }))).toEqual([]);
  });

  it("the first message of somebody whose key is not known is not verified", () => {
    const story = calm().comesOn("cat", 3).orders("cat", 3, 0, "bob");
    expect(found(story.shows("bob", 2, "cat", "3.0", { verified: false }).delivered("cat", 3, 0))).toEqual([]);
  });
});

describe("the schedule", () => {
  const cast: Cast = {
    talkers: ["a", "b"],
    members: ["a", "b", "c"],
    elders: ["a"],
    senders: ["s"],
    messageEveryMs: 350,
  };

  it("is the same for the same seed, and another for another", () => {
    const of = (seed: number) => storm(new Random(seed), cast, ofOneServer(cast, ALL_KINDS), 60_000);
    expect(of(1)).toEqual(of(1));
    expect(of(1)).not.toEqual(of(2));
  });

  it("has all kinds and only those that were asked for, ends in time, and leaves the elders alive", () => {
    const faults = (kinds: typeof ALL_KINDS) =>
      storm(new Random(3), cast, ofOneServer(cast, kinds), 600_000).flatMap((act) =>
        act.type === "fault" ? [act] : [],
      );
    const all = faults(ALL_KINDS);
    expect(new Set(all.map(({ kind }) => kind))).toEqual(new Set(ALL_KINDS));
    expect(new Set(faults(["client"]).map(({ kind }) => kind))).toEqual(new Set(["client"]));
    expect(faults([])).toEqual([]);
    expect(all.every(({ at, forMs }) => at + forMs <= 600_000)).toBe(true);
    expect(all.some(({ kind, target }) => (kind === "client" || kind === "leave") && target === "a")).toBe(false);
  });

  it("of many servers has all kinds, each for somebody who is there", () => {
    const all = storm(new Random(3), MANY_CAST, ofManyServers(ALL_DIRECTORY_KINDS), 600_000);
    const faults = all.flatMap((act) => (act.type === "fault" ? [act] : []));
    expect(new Set(faults.map(({ kind }) => kind))).toEqual(new Set(ALL_DIRECTORY_KINDS));
    expect(faults.every(({ target }) => /^([esc]\d|[a-z]{3})$/.test(target))).toBe(true);
  });
});

describe("a text", () => {
  it("is recognised, and known to be whole", () => {
    for (const size of [0, 1, 42, 43, 20_000]) {
      expect(readText(textOf("12.3", size))).toEqual({ token: "12.3", whole: true });
    }
    const text = textOf("12.3", 100);
    expect(readText(text.slice(0, -1))).toEqual({ token: "12.3", whole: false });
    expect(readText(`${text}x`)).toEqual({ token: "12.3", whole: false });
    expect(readText(text.replace("12.3", "12.4"))).toEqual({ token: "12.4", whole: false });
    expect(readText("hello")).toEqual({ token: null, whole: false });
  });
});
