// What a user remembers of directories: which key an id belongs to, which ids an address had, and which keys of names count therefore.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseServerAddress } from "../../lib/base/server-address.ts";
import { hostDirectoryId, hostIdOf, newDirectoryId } from "../../lib/directory/directory-id.ts";
import { KnownDirectories, type PinScope } from "../../lib/store/known-directories.ts";
import { KnownPeers } from "../../lib/store/known-peers.ts";

const keyOf = (byte: number): string => Buffer.alloc(32, byte).toString("base64");
const [GENUINE, FOREIGN] = [keyOf(1), keyOf(2)];
const [BOB, MALLORY] = [keyOf(3), keyOf(4)];
const [ID, OTHER_ID] = [newDirectoryId(), newDirectoryId()];

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "ptalk-known-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

interface Said {
  readonly at: string;
  readonly id?: string;
  readonly key?: string;
  readonly isDirect?: boolean;
}

const said = ({ at, id = ID, key = GENUINE, isDirect = true }: Said) => ({
  address: parseServerAddress(at),
  directory: id,
  serverKey: key,
  isDirect,
});
const meet = (server: Said): PinScope => new KnownDirectories(dir).meet(said(server)).scope;
const peers = (): KnownPeers => new KnownPeers(dir);

describe("a directory with an id of its own", () => {
  it("has the same keys at each address, and at one that it moves to", () => {
    peers().remember(meet({ at: "srv.example" }), "bob", BOB);
    const moved = meet({ at: "new.example:1" });
    expect(peers().check(moved, "bob", BOB)).toBe("known");
    expect(() => peers().check(moved, "bob", MALLORY)).toThrow(expect.objectContaining({ code: "key-mismatch" }));
    expect(peers().list()).toMatchObject([{ server: "new.example:1", name: "bob", directory: ID }]);
    const [bob] = peers().list();
    expect(["srv.example:5518", "new.example:1", "x:1"].map((at) => bob && peers().isAt(bob, at))).toEqual([
      ...[true, true, false],
    ]);
    expect(peers().forget("bob", "srv.example:5518")).toHaveLength(1);
    expect(peers().check(moved, "bob", MALLORY)).toBe("new");
  });

  it("is refused where another server repeats its id, and learned anew once it is forgotten", () => {
    meet({ at: "srv.example" });
    const foreign = { at: "evil.example", key: FOREIGN };
    for (const at of ["evil.example", "srv.example", "127.0.0.1"]) {
      expect(() => meet({ ...foreign, at })).toThrow(
        expect.objectContaining({ code: "refused", remedy: "forget-certificate", subject: ID }),
      );
    }
    expect(() => new KnownDirectories(dir).check(said(foreign))).toThrow(/another server's key/);
    expect(readFileSync(join(dir, "known_directories"), "utf8")).toBe(`${ID}@srv.example:5518 ${GENUINE}\n`);
    expect(new KnownDirectories(dir).forget(ID)).toBe(true);
    expect(meet(foreign).current).toBe(ID);
  });

  it("is shared by servers that the user names together, each with its own key at its own address", () => {
    const known = new KnownDirectories(dir);
    const [a, b] = [said({ at: "a.example" }), said({ at: "b.example", key: FOREIGN })];
    const together = [a.address, b.address];
    known.meet(a, together);
    expect(() => known.check(b)).toThrow(/another server's key/);
    known.check(b, together);
    expect(known.meet(b, together)).toMatchObject({ scope: { current: ID }, isNewKey: true });
    // Each is known by now, alone too. Neither takes the other's place, and no third one comes in beside them.
    known.check(b);
    for (const [at, key] of [
      ["a.example", keyOf(5)],
      ["b.example", GENUINE],
      ["c.example", keyOf(5)],
    ] as const) {
      expect(() => known.meet(said({ at, key }), together)).toThrow(/another server's key/);
    }
  });

  it("is new once, whatever its address", () => {
    const known = new KnownDirectories(dir);
    expect(["a.example", "a.example", "b.example"].map((at) => known.meet(said({ at })).isNewKey)).toEqual([
      ...[true, false, false],
    ]);
  });

  it("does not get rid of the keys that speak against it by a new id", () => {
    peers().remember(meet({ at: "srv.example" }), "bob", BOB);
    const pretender = meet({ at: "srv.example", id: OTHER_ID, key: FOREIGN });
    expect(() => peers().check(pretender, "bob", MALLORY)).toThrow(expect.objectContaining({ code: "key-mismatch" }));
    expect(peers().keyFor(pretender, "bob")).toBe(BOB);
    expect(peers().check(pretender, "bob", BOB)).toBe("known");
    // What it makes up of others does not count where it was never met.
    peers().remember(pretender, "carol", MALLORY);
    expect(peers().check(meet({ at: "elsewhere.example" }), "carol", keyOf(5))).toBe("new");
  });

  it("takes over what an older version remembered under its address, with the mark of a compared key", () => {
    for (const file of ["known_peers", "verified"]) writeFileSync(join(dir, file), `SRV.example:5518/bob ${BOB}\n`);
    const here = meet({ at: "srv.example" });
    expect(() => peers().check(here, "bob", MALLORY)).toThrow(expect.objectContaining({ code: "key-mismatch" }));
    expect(peers().check(here, "bob", BOB)).toBe("known");
    expect(peers().list()).toMatchObject([{ server: "srv.example:5518", directory: ID, name: "bob", verified: true }]);
    expect(peers().check(meet({ at: "moved.example" }), "bob", BOB)).toBe("known");
  });

  it("loses all that is remembered of a name when its key is replaced, whatever it stands under", () => {
    writeFileSync(join(dir, "known_peers"), `srv.example:5518/bob ${BOB}\n`);
    const here = meet({ at: "srv.example" });
    peers().replace(here, "bob", MALLORY);
    expect(peers().check(here, "bob", MALLORY)).toBe("known");
    expect(() => peers().check(here, "bob", BOB)).toThrow(expect.objectContaining({ code: "key-mismatch" }));
  });
});

describe("an id that proves nothing counts by the address:", () => {
  it.each<[string, Said]>([
    ["this host's, from elsewhere", { at: "evil.example", id: hostDirectoryId() }],
    ["another host's, through a forwarder", { at: "127.0.0.1:1", id: hostIdOf("machine", "other") }],
    ["one that somebody in between passes on", { at: "srv.example", isDirect: false }],
    ["a text that is none", { at: "srv.example", id: "x@y/z\n1" }],
  ])("%s", (_what, server) => {
    peers().remember(meet({ at: "127.0.0.1", id: hostDirectoryId() }), "bob", BOB);
    peers().remember(meet({ at: "genuine.example" }), "bob", BOB);
    const before = readFileSync(join(dir, "known_directories"), "utf8");
    const scope = meet(server);
    expect(scope).toEqual({ current: server.at.includes(":") ? server.at : `${server.at}:5518`, former: [] });
    expect(peers().check(scope, "bob", MALLORY)).toBe("new");
    expect(readFileSync(join(dir, "known_directories"), "utf8")).toBe(before);
  });
});

describe("the default server of this host", () => {
  it("is one directory, whichever key it has this time, and another one than that of a host which shares the home", () => {
    const id = hostDirectoryId();
    peers().remember(meet({ at: "127.0.0.1", id }), "root", BOB);
    expect(meet({ at: "127.0.0.1", id, key: FOREIGN })).toEqual({ current: id, former: ["127.0.0.1:5518"] });
    const there = hostIdOf("the same machine", "login2");
    writeFileSync(join(dir, "known_directories"), `${there}@127.0.0.1:5518@${there} host\n`, { flag: "a" });
    expect(meet({ at: "127.0.0.1", id }).former).toEqual(["127.0.0.1:5518"]);
  });

  it("has an id by machine and name; without a machine's id no other server has the same", () => {
    expect(hostIdOf("m", "login1")).toMatch(/^host-[0-9a-f]{32}$/);
    expect(hostIdOf("m", "login1")).toBe(hostIdOf("m", "login1"));
    expect(new Set([hostIdOf("m", "login2"), hostIdOf("n", "login1"), hostIdOf("m", "login1")]).size).toBe(3);
    expect(hostIdOf(null, "login1")).not.toBe(hostIdOf(null, "login1"));
  });
});

it("a line that is no directory is refused with its number", () => {
  writeFileSync(join(dir, "known_directories"), `${ID}@a:1 ${GENUINE}\n${ID}@a:1 nonsense\n`);
  expect(() => meet({ at: "a:1" })).toThrow(/known_directories, line 2: it is not ID@HOST:PORT KEY/);
});
