// What is said of a receiver that does not answer: each way to it with its answer, on hosts of their own.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { onFreshHost, whyNoHosts } from "../helpers/host.ts";
import { nftMissing } from "../helpers/nft.ts";

type Sent = readonly [status: number, errors: string];

interface Results {
  readonly before: Sent;
  readonly drop: Sent;
  readonly refused: Sent;
  readonly prohibited: Sent;
  readonly unreachable: Sent;
  readonly forbidden: Sent;
  readonly fields: readonly string[];
  readonly talk: string;
  readonly unconfirmed: string;
  readonly after: string;
}

const script = join(import.meta.dirname, "../fixtures/hosts/silence.js");
const skipped = whyNoHosts ?? nftMissing;

describe.skipIf(skipped)(`a receiver that does not answer${skipped ? ` (skipped: ${skipped})` : ""}`, () => {
  const tmp = mkdtempSync(join(tmpdir(), "ptalk-silence-"));
  let results: Results;
  beforeAll(async () => {
    const host = onFreshHost(script, [], { TMPDIR: tmp });
    results = JSON.parse(await host.line()) as Results;
    await host.ended;
  });
  afterAll(() => rmSync(tmp, { recursive: true, force: true }));

  it.each([
    ["drop", "no answer"],
    ["refused", "its host says that nothing listens there"],
    ["prohibited", "a firewall on the way forbids it"],
    ["unreachable", "that host cannot be reached"],
    ["forbidden", "a firewall of this host forbids it"],
  ] as const)("%s: the failure says so, that there was no relay, and what to do next", (cause, answer) => {
    expect(results.before[0]).toBe(0);
    const [status, errors] = results[cause];
    expect(status).toBe(75);
    expect(errors.replace(/within [\d.]+ s/, "within TIME")).toBe(
      `ptalk: not delivered to "bob": no answer within TIME (10.80.0.3:PORT: ${answer}; no relay) (id ID). To find out why: ptalk doctor bob`,
    );
  });

  it("is told in a conversation in the same words, and the events keep their fields", () => {
    expect(results.fields).toEqual(["type", "id", "to", "code", "message", "room"]);
    expect(results.talk).toContain("(10.80.0.3:PORT: a firewall of this host forbids it; no relay)");
  });

  it("of a message that it may have, that is told as well, and the conversation goes on", () => {
    expect(results.unconfirmed).toMatch(
      /^unconfirmed to "bob": no word from it within 1 s \(10\.80\.0\.3:PORT: a firewall of/,
    );
    expect(results.after).toBe("delivered");
  });
});
