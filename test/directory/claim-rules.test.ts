// The rules of names by themselves: every combination, and versions that wrap around. What they do in a directory: conformance.ts.
import { describe, expect, it } from "vitest";
import { checkOwner, decide, isLaterVersion, VERSION_MASK } from "../../lib/directory/claim-rules.ts";
import type { DirectoryRow } from "../../lib/directory/directory.ts";
import { DirectoryEntry, packEntry } from "../../lib/directory/entry.ts";
import { claimIdOf, fieldsOf, KEYS } from "./support/entries.ts";

const [mine, other] = KEYS as [string, string];
const place = { worker: 1, connection: 1 };
const [this_, that, third] = [claimIdOf(1), claimIdOf(2), claimIdOf(3)];
const row = (key: string, claimId: string): DirectoryRow => ({
  entry: new DirectoryEntry(packEntry(fieldsOf("ann", 0, { key }))),
  claimId,
  version: 1,
  place,
});

describe("what a registration does to the row under its name", () => {
  it("in every combination", () => {
    for (const key of [mine, other])
      for (const claimId of [this_, that])
        for (const takeover of [null, that, third])
          for (const replace of [false, true])
            for (const isLive of [false, true]) {
              const request = { entry: fieldsOf("ann", 0, { key: mine }), claimId: this_, place, takeover, replace };
              const decision = () => decide(request, row(key, claimId), isLive);
              const what = JSON.stringify({ key: key === mine, claimId: claimId === this_, takeover, replace, isLive });
              if (key === other) expect(decision, what).toThrow(expect.objectContaining({ code: "taken" }));
              else if (claimId === this_) expect(decision(), what).toBe("done");
              else if (replace || !isLive || takeover === that) expect(decision(), what).toBe("replace");
              else expect(decision, what).toThrow(expect.objectContaining({ code: "taken" }));
              expect(decide(request, null, isLive)).toBe("insert");
            }
  });

  it("a name belongs to the key that it is bound to, or else to the client that is there", () => {
    const taken = expect.objectContaining({ code: "taken" });
    for (const there of [null, row(mine, this_), row(other, this_)]) {
      expect(() => checkOwner(other, mine, there)).toThrow(taken);
      expect(() => checkOwner(mine, mine, there)).not.toThrow();
    }
    expect(() => checkOwner(undefined, mine, null)).not.toThrow();
    expect(() => checkOwner(undefined, mine, row(mine, that))).not.toThrow();
    expect(() => checkOwner(undefined, mine, row(other, this_))).toThrow(taken);
  });

  it("an owner that is not there has no host and no time; nothing of another client is told for its", () => {
    const { fingerprint } = row(mine, this_).entry;
    const holder = { by: fingerprint, host: null, since: null };
    expect(() => checkOwner(mine, other, row(other, this_))).toThrow(expect.objectContaining({ holder }));
    const { host, startedAt } = row(mine, this_).entry;
    const there = expect.objectContaining({ holder: { by: fingerprint, host, since: startedAt } });
    expect(() => checkOwner(mine, other, row(mine, this_))).toThrow(there);
  });
});

describe("versions", () => {
  it("are later across the point where they wrap around", () => {
    for (const from of [0, 1, 77, VERSION_MASK - 1, VERSION_MASK]) {
      for (const ahead of [1, 2, 1000, VERSION_MASK >>> 1]) {
        const later = (from + ahead) & VERSION_MASK;
        expect(isLaterVersion(later, from)).toBe(true);
        expect(isLaterVersion(from, later)).toBe(false);
      }
      expect(isLaterVersion(from, from)).toBe(false);
    }
  });
});
