import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs, {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { fingerprint } from "../../lib/crypto/fingerprint.ts";
import { KnownPeers, KnownServers } from "../../lib/store/known-peers.ts";
import { MAX_PIN_FILE_BYTES, PIN_FRESH_MS, PinFile } from "../../lib/store/pin-file.ts";

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

  it.each<[string, string | Buffer, number, RegExp]>([
    ["a byte order mark", "\ufeffa 1\nb 2\n", 1, /byte order mark/],
    ["a byte order mark before a comment", "\ufeff# mine\na 1\n", 1, /byte order mark/],
    ["CR LF", "a 1\r\nb 2\r\n", 1, /carriage return/],
    ["CR LF on one line", "a 1\nb 2\r\n", 2, /carriage return/],
    ["CR alone", "a 1\rb 2\r", 1, /carriage return/],
    ["Latin-1", Buffer.from("a 1\nbj\xf6rn 2\n", "latin1"), 2, /not UTF-8/],
    ["UTF-16", Buffer.from("a 1\n", "utf16le"), 1, /control character/],
    ["zeros, as a power cut leaves them", `a 1\n${"\0".repeat(9)}\n`, 2, /control character/],
    ["a tab for the space", "a\t1\n", 1, /not SUBJECT VALUE/],
    ["two spaces", "a  1\n", 1, /not SUBJECT VALUE/],
    ["a space at the end", "a 1\nb 2 \n", 2, /not SUBJECT VALUE/],
    ["a space that does not look like one", "a\u00a01\n", 1, /not SUBJECT VALUE/],
    ["a letter that shows as nothing", "a\u200b 1\n", 1, /not SUBJECT VALUE/],
    ["a subject alone", "a\n", 1, /not SUBJECT VALUE/],
  ])("refuses %s, and says where", (_, content, line, reason) => {
    mkdirSync(join(dir, "deep"), { recursive: true });
    writeFileSync(path(), content);
    const pins = new PinFile(path());
    for (const use of [
      () => pins.get("a"),
      () => pins.agrees("a", "1"),
      () => pins.pin("c", "3"),
      () => pins.forget("a"),
      () => pins.entries(),
    ]) {
      expect(use).toThrow(reason);
      expect(use).toThrow(`pins, line ${line}: `);
    }
    expect(readFileSync(path())).toEqual(Buffer.from(content));
  });

  it("refuses a file that would read as one without pins", () => {
    mkdirSync(join(dir, "deep"), { recursive: true });
    execFileSync("mkfifo", [path()]);
    expect(() => new PinFile(path()).get("a")).toThrow(/not a regular file/);
    rmSync(path());
    symlinkSync("/dev/null", path());
    expect(() => new PinFile(path()).pin("a", "1")).toThrow(/not a regular file/);
  });

  it("forgets what it has read when the file cannot be read any more", () => {
    const pins = new PinFile(path());
    pins.pin("a", "1");
    appendFileSync(path(), "b 2\r\n");
    expect(() => pins.get("a")).toThrow(/line 2/);
    expect(() => pins.agrees("a", "1")).toThrow(/line 2/);
  });

  describe("asked whether a pin agrees", () => {
    const looks = { stat: 0, open: 0 };
    beforeEach(() => {
      for (const [name, call] of [
        ["stat", "statSync"],
        ["open", "openSync"],
      ] as const) {
        const original = fs[call] as (...args: unknown[]) => unknown;
        looks[name] = 0;
        vi.spyOn(fs, call).mockImplementation(((...args: unknown[]) => {
          if (args[0] === path()) looks[name]++;
          return original(...args);
        }) as never);
      }
      syncBuiltinESMExports();
    });
    afterEach(() => {
      vi.restoreAllMocks();
      vi.useRealTimers();
      syncBuiltinESMExports();
    });

    it("does not look at the file again within a second, and then only at its state", () => {
      vi.useFakeTimers({ toFake: ["performance"] });
      const pins = new PinFile(path());
      pins.pin("a", "1");
      Object.assign(looks, { stat: 0, open: 0 });
      for (let i = 0; i < 100; i++) expect(pins.agrees("a", "1")).toBe(true);
      expect(looks).toEqual({ stat: 0, open: 0 });
      vi.advanceTimersByTime(PIN_FRESH_MS);
      for (let i = 0; i < 100; i++) expect(pins.agrees("a", "1")).toBe(true);
      expect(looks).toEqual({ stat: 1, open: 0 });
    });

    it("says no only of the file as it is now", () => {
      const [one, other] = [new PinFile(path()), new PinFile(path())];
      one.pin("a", "1");
      expect(one.agrees("b", "2")).toBe(false);
      other.pin("b", "2");
      expect(one.agrees("b", "2")).toBe(true);
      other.forget("a");
      other.pin("a", "3");
      expect(one.agrees("a", "3")).toBe(true);
      expect(one.agrees("a", "1")).toBe(false);
    });

    it("believes a pin that another process has forgotten for a second at most", () => {
      vi.useFakeTimers({ toFake: ["performance"] });
      const [one, other] = [new PinFile(path()), new PinFile(path())];
      one.pin("a", "1");
      other.forget("a");
      vi.advanceTimersByTime(PIN_FRESH_MS);
      expect(one.agrees("a", "1")).toBe(false);
    });
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
    expect(peers.check("127.0.0.1:1", "bob", KEY_A)).toBe("new");
    expect(peers.has("127.0.0.1:1", "bob")).toBe(false);
    peers.remember("127.0.0.1:1", "bob", KEY_A);
    expect(peers.check("127.0.0.1:1", "bob", KEY_A)).toBe("known");
    expect(peers.has("127.0.0.1:1", "bob")).toBe(true);
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

const A = fingerprint(Buffer.from("a"));
const B = fingerprint(Buffer.from("b"));

it.each<[string, string]>([
  ["known_peers", "lab:1/bob SHA256:short\n"],
  ["known_peers", `lab:1/bob ${KEY_A.slice(0, -2)}\n`],
  ["known_peers", `lab:1 ${KEY_A}\n`],
  ["known_peers", `/bob ${KEY_A}\n`],
  ["known_servers", `lab:1 ${KEY_A}\n`],
  ["known_servers", `lab:1/bob ${A}\n`],
])("%s refuses a line of another kind: %j", (file, line) => {
  writeFileSync(join(dir, file), `# first\n${line}`);
  const use = () => (file === "known_peers" ? new KnownPeers(dir) : new KnownServers(dir)).list();
  expect(use).toThrow(`${join(dir, file)}, line 2: it is not `);
});

describe("known servers", () => {
  it("refuse a changed certificate", () => {
    const servers = new KnownServers(dir);
    servers.remember("lab:1", A);
    servers.remember("lab:1", A);
    expect(() => servers.remember("lab:1", B)).toThrow(
      expect.objectContaining({
        message: expect.stringContaining(`known ${A}, offered ${B}`),
        remedy: "forget-certificate",
      }),
    );
    expect(servers.forget("lab:1")).toBe(true);
    servers.remember("lab:1", B);
  });
});

describe("a server's spelling", () => {
  const [KEY, OTHER] = [1, 2].map((byte) => Buffer.alloc(32, byte).toString("base64")) as [string, string];

  it("is one: a pin in any other, of an older version or made by hand, holds", () => {
    writeFileSync(join(dir, "known_servers"), `SRV.Example:5518 ${fingerprint(Buffer.alloc(32))}\n`);
    writeFileSync(join(dir, "known_peers"), `[FE80::0:1]:5518/bob ${KEY}\n`);
    const servers = new KnownServers(dir);
    expect(() => servers.check("srv.example:5518", fingerprint(Buffer.alloc(32, 1)))).toThrow(/has changed/);
    expect(() => new KnownPeers(dir).check("[fe80::1]:5518", "bob", OTHER)).toThrow(
      expect.objectContaining({ code: "key-mismatch" }),
    );
    expect(servers.forget("Srv.EXAMPLE:5518")).toBe(true);
    expect(new KnownServers(dir).list()).toEqual([]);
    expect(new KnownPeers(dir).forget("BOB", "[fe80::1]:5518")).toHaveLength(1);
    expect(new KnownPeers(dir).check("[fe80::1]:5518", "bob", OTHER)).toBe("new");
  });
});
