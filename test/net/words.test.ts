// What the commands say, and with which status, when the server, a name or a port is not to be had: on hosts of their own.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { onFreshHost, whyNoHosts } from "../helpers/host.ts";
import { nftMissing } from "../helpers/nft.ts";

interface Ended {
  readonly status: number;
  readonly errors: string;
}

interface Results {
  readonly tlsToPlain: Ended;
  readonly tlsToPlainAgain: Ended;
  readonly plainToTls: Ended;
  readonly sendPlainToTls: Ended;
  readonly tlsToTls: number;
  readonly plainToPlain: number;
  readonly logs: readonly (readonly string[])[];
  readonly second: string;
  readonly sendUnderOwnName: Ended;
  readonly heard: string;
  readonly answer: number;
  readonly secondNote: string;
  readonly talking: string;
  readonly talkStatus: number;
  readonly sendBeside: number;
  readonly ports: readonly [number, boolean];
  readonly toBeside: number;
  readonly besideNote: string;
  readonly insists: Ended;
  readonly recvAway: Ended;
  readonly allAway: Ended;
}

/** Whose key is met for the first time is told as well. */
function withoutFirstContact(_key: string, value: unknown): unknown {
  return typeof value === "string" ? value.replace(/^ptalk: first contact .*(\n|$)/gm, "").trim() : value;
}

const script = join(import.meta.dirname, "../fixtures/hosts/words.js");
const skipped = whyNoHosts ?? nftMissing;

describe.skipIf(skipped)(`what is said${skipped ? ` (skipped: ${skipped})` : ""}`, () => {
  const tmp = mkdtempSync(join(tmpdir(), "ptalk-words-"));
  let results: Results;
  beforeAll(async () => {
    const host = onFreshHost(script, [], { TMPDIR: tmp });
    results = JSON.parse(await host.line(), withoutFirstContact) as Results;
    await host.ended;
  });
  afterAll(() => rmSync(tmp, { recursive: true, force: true }));

  it("names TLS against a plain server in plain words, on both sides, once in the server's log", () => {
    expect(results.tlsToPlain).toEqual({
      status: 69,
      errors: expect.stringMatching(/10\.78\.0\.1:5518: it does not speak TLS\. If the network is trusted: --insecure/),
    });
    expect(results.tlsToPlainAgain).toEqual(results.tlsToPlain);
    expect(results.logs[0]).toEqual([
      expect.stringMatching(/warn:.* a client speaks TLS, and this server is plain.* address=10\.78\.0\.2$/),
    ]);
    expect(results.plainToPlain).toBe(0);
  });

  it("names plain against a TLS server in plain words, on both sides, once in the server's log", () => {
    const said = {
      status: 69,
      errors: expect.stringMatching(/10\.78\.0\.1:5519: it takes TLS connections only\. Leave --insecure out/),
    };
    expect([results.plainToTls, results.sendPlainToTls]).toEqual([said, said]);
    expect(results.logs[1]).toEqual([
      expect.stringMatching(/warn:.* a client speaks plain, and this server takes TLS only.* address=10\.78\.0\.2$/),
    ]);
    expect(results.tlsToTls).toBe(0);
  });

  it("takes NAME.HOST, and says so, where the login name belongs to the key of another host", () => {
    const note = expect.stringMatching(/^ptalk: you are root\.beta: the name "root" is taken: .* on host alpha since /);
    expect(results).toMatchObject({ second: "root.beta", secondNote: note, heard: "root.beta", answer: 0 });
    expect(results.sendUnderOwnName).toEqual({ status: 0, errors: note });
    expect(results).toMatchObject({ talking: "root.beta", talkStatus: 0 });
  });

  it("goes on at another port where the configured one is taken, and says so", () => {
    expect(results).toMatchObject({ ports: [7007, true], sendBeside: 0, toBeside: 0 });
    expect(results.besideNote).toMatch(/^ptalk: UDP port 7007 is taken by another program; messages come to port \d+$/);
  });

  it("ends with 69, and names the holder, where the port of the command line is taken", () => {
    expect(results.insists).toEqual({
      status: 69,
      errors: expect.stringMatching(
        /^ptalk: UDP port 7007 cannot be had .*: a program of user root \(pid \d+\) has it/,
      ),
    });
  });

  it("says that no server answers, not that no message came", () => {
    const said = (time: string) => ({
      status: 69,
      errors: `ptalk: no lookup server at 10.78.0.1:5518: no answer within ${time}`,
    });
    expect([results.recvAway, results.allAway]).toEqual([said("1 s"), said("5 s")]);
  });
});
