import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { KnownPeers, KnownServers } from "../../lib/store/known-peers.ts";
import { MAX_PIN_FILE_BYTES, PinFile } from "../../lib/store/pin-file.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "ptalk-pins-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));
const path = (): string => join(dir, "deep", "pins");

describe("a pin file", () => {
  it("keeps the first pin until it is forgotten", () => {
    const pins = new PinFile(path());
    expect(pins.get("a")).toBeUndefined();
    expect(pins.pin("a", "1")).toBe("1");
    expect(pins.pin("a", "2")).toBe("1");
    expect(pins.forget("a")).toBe(true);
    expect(pins.forget("a")).toBe(false);
    expect(pins.pin("a", "2")).toBe("2");
    expect(new PinFile(path()).entries()).toEqual([["a", "2"]]);
  });

  it("is its owner's alone", () => {
    new PinFile(path()).pin("a", "1");
    expect(statSync(path()).mode & 0o777).toBe(0o600);
    expect(statSync(join(dir, "deep")).mode & 0o777).toBe(0o700);
  });

  it("sees what other processes pinned since", () => {
    const [one, other] = [new PinFile(path()), new PinFile(path())];
    one.pin("a", "1");
    expect(other.pin("a", "2")).toBe("1");
    other.forget("a");
    expect(one.get("a")).toBeUndefined();
  });

  it("fails closed on a line that is no pin, naming it", () => {
    new PinFile(path()).pin("a", "1");
    appendFileSync(path(), "torn\n");
    expect(() => new PinFile(path()).get("a")).toThrow(/pins, line 2: .*mend or remove/);
  });

  it("leaves comments alone", () => {
    new PinFile(path()).pin("a", "1");
    appendFileSync(path(), "# met at the workshop\n");
    expect(new PinFile(path()).get("a")).toBe("1");
  });

  it.each(["# met at the workshop", "b 2"])("appends to a file whose last line has no end (%s)", (last) => {
    mkdirSync(join(dir, "deep"), { recursive: true });
    writeFileSync(path(), last);
    const pins = new PinFile(path());
    expect([pins.pin("a", "1"), pins.pin("a", "2"), new PinFile(path()).get("a")]).toEqual(["1", "1", "1"]);
    expect(readFileSync(path(), "utf8")).toBe(`${last}\na 1\n`);
  });

  it("says so when a pin did not stay", () => {
    expect(() => new PinFile(path()).pin("#a", "1")).toThrow(/#a is not in it/); // a comment
  });

  it("refuses what would not be one line of two words", () => {
    expect(() => new PinFile(path()).pin("a b", "1")).toThrow(/two words/);
    expect(() => new PinFile(path()).pin("a", "1\nb 2")).toThrow(/two words/);
  });

  it("has a largest size, for reading and for writing", () => {
    new PinFile(path()).pin("a", "1");
    writeFileSync(path(), `${"#".repeat(MAX_PIN_FILE_BYTES - 2)}\n`);
    expect(() => new PinFile(path()).pin("a", "1")).toThrow(/remove lines/);
    writeFileSync(path(), `${"#".repeat(MAX_PIN_FILE_BYTES)}\n`);
    expect(() => new PinFile(path()).get("a")).toThrow(/larger than/);
  });

  it("lets exactly one of many processes win, and all of them know which", async () => {
    const writers = await Promise.all(
      Array.from({ length: 6 }, async (_, i) => {
        const script = `
          import { PinFile } from ${JSON.stringify(join(import.meta.dirname, "../../dist/store/pin-file.js"))};
          const pins = new PinFile(${JSON.stringify(path())});
          process.stdout.write(Array.from({ length: 50 }, (_, n) => pins.pin("s" + n, "p${i}")).join(","));`;
        const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
          stdio: ["ignore", "pipe", "inherit"],
        });
        let out = "";
        child.stdout.on("data", (chunk) => {
          out += chunk;
        });
        expect((await once(child, "close"))[0]).toBe(0);
        return out;
      }),
    );
    expect(new Set(writers).size).toBe(1);
    expect(writers[0]?.split(",")).toEqual(new PinFile(path()).entries().map(([, value]) => value));
    expect(readFileSync(path(), "utf8")).toMatch(/^(s\d+ p\d\n)+$/);
  });
});

const KEY_A = Buffer.alloc(32, 1).toString("base64");
const KEY_B = Buffer.alloc(32, 2).toString("base64");

describe("known peers", () => {
  it("refuses a changed key with both fingerprints and the way out", () => {
    const peers = new KnownPeers(dir);
    expect(peers.check("127.0.0.1:1", "Bob", KEY_A)).toBe("new");
    peers.remember("127.0.0.1:1", "Bob", KEY_A);
    expect(peers.check("127.0.0.1:1", "BOB", KEY_A)).toBe("known");
    const [known] = peers.list();
    expect(() => peers.check("127.0.0.1:1", "bob", KEY_B)).toThrow(known?.fingerprint);
    expect(() => peers.remember("127.0.0.1:1", "bob", KEY_B)).toThrow(
      expect.objectContaining({ remedy: "forget-key", subject: "bob" }),
    );
  });

  it("keeps the names of different servers apart, and forgets a name on all or on one", () => {
    const peers = new KnownPeers(dir);
    for (const server of ["[::1]:1", "lab:2", "lab:3"]) peers.remember(server, "bob", KEY_A);
    expect(peers.check("lab:4", "bob", KEY_B)).toBe("new");
    expect(peers.forget("BOB", "lab:2").map((peer) => peer.server)).toEqual(["lab:2"]);
    expect(peers.forget("bob").map((peer) => peer.server)).toEqual(["[::1]:1", "lab:3"]);
    expect(peers.list()).toEqual([]);
  });
});

describe("known servers", () => {
  it("refuse a changed certificate", () => {
    const servers = new KnownServers(dir);
    servers.remember("lab:1", "sha256:aa");
    servers.remember("lab:1", "sha256:aa");
    expect(() => servers.remember("lab:1", "sha256:bb")).toThrow(
      expect.objectContaining({ message: expect.stringMatching(/sha256:aa.*sha256:bb/), remedy: "forget-certificate" }),
    );
    expect(servers.forget("lab:1")).toBe(true);
    servers.remember("lab:1", "sha256:bb");
  });
});
