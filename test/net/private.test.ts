// `ptalk serve --private`: what other hosts learn of who is on.
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { onFreshHost, whyNoHosts } from "../helpers/host.ts";
import { newKeys } from "../helpers/lookup-server.ts";
import type { Program } from "../helpers/program.ts";
import { WorkerHost } from "../helpers/worker-host.ts";

let host: Program | undefined;
afterEach(() => host?.kill());

describe.skipIf(whyNoHosts)(`a private server${whyNoHosts ? ` (skipped: ${whyNoHosts})` : ""}`, () => {
  it("tells other hosts who is on only while they are on themselves, and its own host always", async () => {
    host = onFreshHost(join(import.meta.dirname, "../fixtures/hosts/private.js"));
    const refused = {
      status: 77,
      errors: expect.stringContaining("who is on is told to users of the server's host, and to clients that are on"),
    };
    expect(JSON.parse(await host.line())).toEqual({
      ...{ all: refused, lookup: refused },
      ...{ "127.0.0.1:5518": ["ann"], "10.79.0.1:5518": ["ann"] },
      ...{ send: 0, heard: "ben", seen: ["ann", "ben"], told: "joined" },
    });
    await host.ended;
  });
});

describe("a connection from another host to a private server", () => {
  const READS = ["LOOKUP ann", "lookup ann", "ALL", "COUNT", "KEY ann", "OWNER ann", "NAMES a", "WATCH", "WATCH ann"];

  it.each([...READS, "MEMBERS #r"])("gets nothing for %s before it registers or claims", async (request) => {
    await using worker = await WorkerHost.start({ config: { isPrivate: true, insecure: true } });
    worker.address = "192.0.2.9";
    const client = await worker.client();
    expect(await client.ask(...request.split(" "))).toMatchObject({ code: "NOPERM" });
    expect(await client.claim("bob", newKeys())).toBe("OK");
    expect(await client.ask(...request.split(" "))).not.toMatchObject({ code: "NOPERM" });
  });

  it("gets nothing by a claim that is refused", async () => {
    await using worker = await WorkerHost.start({ config: { isPrivate: true, insecure: true } });
    worker.address = "192.0.2.9";
    const [owner, other] = [await worker.client(), await worker.client()];
    expect(await owner.claim("bob", newKeys())).toBe("OK");
    expect(await other.claim("bob", newKeys())).toMatchObject({ code: "TAKEN" });
    expect(await other.ask("LOOKUP", "bob")).toMatchObject({ code: "NOPERM" });
  });
});
