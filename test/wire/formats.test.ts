// Versions that meet: the bytes that each released version made, held against this one. It reads them, or says which side has to upgrade; what
// it writes itself is what is kept of it, so a change of a format without a new version number fails here.
import { createSocket } from "node:dgram";
import { cpSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { readNameLine } from "../../lib/directory/shm/name-log.ts";
import { LAYOUT_VERSION } from "../../lib/directory/shm/table-layout.ts";
import { TableReader } from "../../lib/directory/shm/table-reader.ts";
import { openTableSegment } from "../../lib/directory/shm/table-segment.ts";
import { ReadersWriterLock, SharedMemory } from "../../lib/ipc/index.ts";
import { KnownPeers } from "../../lib/store/known-peers.ts";
import { parseClaim, parseRegister } from "../../lib/wire/commands.ts";
import { isOtherVersion } from "../../lib/wire/datagram.ts";
import { User } from "../helpers/cli.ts";
import { Client, ServerProcess } from "../helpers/lookup-server.ts";

const FORMATS = join(import.meta.dirname, "../fixtures/formats");
const CURRENT = "0.2";
const OLDER = ["0.1"];

const bytesOf = (version: string, file: string): Buffer => readFileSync(join(FORMATS, version, file));
const textOf = (version: string, file: string): string => bytesOf(version, file).toString("utf8");
const keyOf = (version: string): string => /\/bob (\S+)/.exec(textOf(version, "known_peers"))?.[1] ?? "";
/** The words of a RESP command, without its name. */
const wordsOf = (version: string, file: string): string[] =>
  textOf(version, file)
    .split("\r\n")
    .filter((_, at) => at > 0 && at % 2 === 0)
    .slice(1);

const unique = `/test-formats-${process.pid}`;
/** Puts a fixture into shared memory, under the name that is given back. */
function inMemory(version: string, file: string): string {
  const bytes = gunzipSync(bytesOf(version, file));
  const name = `${unique}${file.startsWith("lock") ? ".lock" : ""}`;
  using memory = SharedMemory.create(name, { size: bytes.length });
  Buffer.from(memory.buffer).set(bytes);
  return name;
}
afterEach(() => {
  for (const name of readdirSync("/dev/shm"))
    if (`/${name.replace(/^sem\./, "")}`.startsWith(unique) && !name.startsWith("sem."))
      SharedMemory.unlink(`/${name}`);
});

it("has the bytes of each version", () => {
  expect(
    readdirSync(FORMATS, { withFileTypes: true })
      .filter((each) => each.isDirectory())
      .map(({ name }) => name),
  ).toEqual([...OLDER, CURRENT]);
});

describe.each(OLDER)("of %s", (version) => {
  let server: ServerProcess;
  beforeAll(async () => {
    server = await ServerProcess.start(["--workers", "1"]);
  });
  afterAll(() => server.stop());

  it.each(["register.resp", "claim.resp"])("a client (%s) reads that it has to be upgraded", async (file) => {
    const client = await Client.connect(server.port);
    const words = wordsOf(version, file);
    const answer = await client
      .ask("HELLO", 3)
      .then(() => client.ask(file === "claim.resp" ? "CLAIM" : "REGISTER", ...words));
    expect(String(answer)).toMatch(/upgrade this/);
    client.close();
  });

  it("a datagram is passed over, and what this version sends still arrives", async () => {
    using user = new User();
    const bob = user.start(["recv", "--as", "bob", "--json", "--count", "1", "--server", server.address]);
    const { port } = JSON.parse(await bob.line()) as { port: number };
    const init = bytesOf(version, "init.datagram");
    expect(isOtherVersion(init)).toBe(true);
    const socket = createSocket("udp4");
    await new Promise((sent) => socket.send(init, port, "127.0.0.1", sent));
    socket.close();
    expect(await user.run(["send", "--as", "alice", "--server", server.address, "bob", "hello"])).toMatchObject({
      code: 0,
    });
    expect(JSON.parse(await bob.line())).toMatchObject({ type: "message", text: "hello" });
    expect(await bob.ended).toMatchObject({ code: 0 });
  });

  it("a table is refused, with both versions", () => {
    const name = inMemory(version, "table.bin.gz");
    expect(() => openTableSegment(name, true)).toThrow(
      expect.objectContaining({
        code: "protocol",
        message: expect.stringMatching(
          new RegExp(`holds layout version \\d+; this ptalk reads version ${LAYOUT_VERSION}$`),
        ),
      }),
    );
  });
});

describe.each([...OLDER, CURRENT])("of %s", (version) => {
  it("remembered keys count", () => {
    using user = new User();
    const stateDir = join(user.home, "state");
    mkdirSync(stateDir);
    cpSync(join(FORMATS, version, "known_peers"), join(stateDir, "known_peers"));
    const peers = new KnownPeers(stateDir);
    expect(peers.list().map((peer) => [peer.name, peers.keyOf(peer)])).toEqual([
      ["alice", keyOf(version)],
      ["bob", keyOf(version)],
    ]);
  });

  it("a server knows whose the names are", () => {
    const [header, ...lines] = textOf(version, "server-names").trimEnd().split("\n");
    expect(header).toBe("ptalk-names-v1");
    expect(lines.map(readNameLine)).toMatchObject([
      { folded: "bob", key: keyOf(version) },
      { folded: "alice", key: keyOf(version) },
    ]);
  });

  it("a lock is understood", () => {
    const name = inMemory(version, "lock.bin.gz");
    expect(ReadersWriterLock.inspect(name)).toMatchObject({ holders: [] });
  });
});

describe(`of ${CURRENT}, which is this version`, () => {
  it("a table is read", () => {
    const { shm, words, geometry } = openTableSegment(inMemory(CURRENT, "table.bin.gz"), true);
    const reader = new TableReader(words, geometry, shm.name);
    reader.find("bob", false);
    expect(reader.snapshot.entry()).toMatchObject({ name: "bob", key: keyOf(CURRENT), protocol: expect.any(Number) });
    shm.close();
  });

  it("a registration and a claim are understood", () => {
    expect(parseRegister(wordsOf(CURRENT, "register.resp"))).toMatchObject({ name: "bob", key: keyOf(CURRENT) });
    expect(parseClaim(wordsOf(CURRENT, "claim.resp"))).toMatchObject({ name: "alice", key: keyOf(CURRENT) });
  });

  it("a datagram is of this version", () => {
    expect(isOtherVersion(bytesOf(CURRENT, "init.datagram"))).toBe(false);
  });
});
