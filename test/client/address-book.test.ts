// Whom the address book believes, and how long it waits: with a directory that answers when the test wants it to, on the test's clock.
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { TalkError } from "../../lib/base/errors.ts";
import { AddressBook, type DirectorySource } from "../../lib/client/address-book.ts";
import type { DirectoryEntry, NameOwner } from "../../lib/directory/entry.ts";
import type { PeerIdentity } from "../../lib/peer/types.ts";
import { KnownPeers } from "../../lib/store/known-peers.ts";
import { entryOf } from "../helpers/entries.ts";
import { freshStateDir } from "../helpers/lookup-server.ts";

const SERVER = "127.0.0.1:1";
const never = new AbortController().signal;
/** On the test's clock. */
const sleep = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const bytesOf = ({ key }: DirectoryEntry): Buffer => Buffer.from(key, "base64");
/** Longer than the server's word counts without being asked again. */
const STALE_MS = 2_100;

/** Answers of the directory, each given when the test says so. */
class Directory implements DirectorySource {
  isConnected = true;
  serverStartedAt = 0;
  settlingMs = 0;
  touches = 0;
  readonly asked: string[] = [];
  readonly owners = new Map<string, string>();
  readonly #answers: ((entry: DirectoryEntry | null) => void)[] = [];

  lookup(name: string): Promise<DirectoryEntry | null> {
    this.asked.push(name);
    return new Promise((resolve) => this.#answers.push(resolve));
  }
  /** Answers the question asked longest ago. */
  answer(entry: DirectoryEntry | null): void {
    this.#answers.shift()?.(entry);
  }
  async ownerOf(name: string): Promise<NameOwner | null> {
    const key = this.owners.get(name);
    return key === undefined ? null : { key, user: null, uid: null, attested: null, isUnattestedLogin: false };
  }
  touch(): void {
    this.touches++;
  }
  dealsWith(): void {}
  whenConnected(): Promise<void> {
    return new Promise(() => {});
  }
}

let state: ReturnType<typeof freshStateDir>;
let directory: Directory;
let peers: KnownPeers;
let book: AddressBook;
/** Keys that no program of the claimed user uses. */
const impostors = new Set<string>();
/** Keys that the kernel of this host vouches for. */
const vouched = new Set<string>();
/** Keys of peers with an open session: "key", or "key port" where it leads to that port only. */
const sessions = new Set<string>();
const learned: string[] = [];

beforeEach(() => {
  vi.useFakeTimers({ shouldAdvanceTime: true }); // a wait that a test awaits takes its time, one that it skips none
  state = freshStateDir();
  directory = new Directory();
  peers = new KnownPeers(state.path);
  sessions.clear();
  learned.length = 0;
  book = new AddressBook({
    scope: () => ({ current: SERVER, former: [] }),
    source: directory,
    peers,
    endpointsOf: ({ endpoints }) => endpoints,
    localUsers: () => ({
      isImpostor: ({ key }) => impostors.has(key),
      vouchesFor: (_name, key) => vouched.has(key),
    }),
    hasSession: ({ key, endpoints }: PeerIdentity) => {
      const text = Buffer.from(key).toString("base64");
      return sessions.has(text) || endpoints.some(({ port }) => sessions.has(`${text} ${port}`));
    },
    onMet: () => {},
    onLearned: (name, { port }) => learned.push(`${name} ${port}`),
  });
});
afterEach(() => {
  book.close();
  state.remove();
  vi.useRealTimers();
});

const find = (name: string, signal = never) => book.find(name, name, signal).then(({ entry }) => entry);

/** Finds somebody, as a message to it does, and has its key confirmed. */
async function talkTo(entry: DirectoryEntry): Promise<void> {
  book.learn(entry);
  const recipient = book.known(entry.name);
  expect(recipient?.entry).toBe(entry);
  if (recipient) book.remember(entry.name, recipient);
  expect(book.known(entry.name)).toMatchObject({ isRemembered: true });
}

describe("a recipient", () => {
  it("of whom the server told just now is known, and without a question", async () => {
    const bob = entryOf("Bob");
    expect(book.known("bob")).toBeNull();
    book.learn(bob);
    const recipient = book.known("bob");
    expect(recipient).toMatchObject({ entry: bob, isRemembered: false });
    expect(recipient?.peer).toEqual({ key: bytesOf(bob), name: "Bob", endpoints: bob.endpoints });
    expect(book.known("bob")).toBe(recipient);
    expect(directory.asked).toEqual([]);
    expect(learned).toEqual(["bob 4000"]);
  });

  it("is asked for once, however many wait for the answer, and again when the answer is old", async () => {
    const [before, after] = [entryOf("bob", 4000), entryOf("bob", 5000)];
    const both = Promise.all([find("bob"), find("bob")]);
    directory.answer(before);
    expect(await both).toEqual([before, before]);
    await sleep(STALE_MS);
    expect(book.known("bob")).toBeNull();
    const again = find("bob");
    directory.answer(after);
    expect(await again).toBe(after);
    expect(directory.asked).toEqual(["bob", "bob"]);
  });

  it("that is known is not waited for: what was known serves, and the late answer counts", async () => {
    const [before, after] = [entryOf("bob", 4000), entryOf("bob", 5000)];
    book.learn(before);
    await sleep(STALE_MS);
    expect(await find("bob")).toBe(before);
    directory.answer(after);
    await sleep(0);
    expect(book.known("bob")?.entry).toBe(after);
  });

  it("is waited for no longer than the caller wants", async () => {
    const abort = new AbortController();
    const finding = find("bob", abort.signal);
    abort.abort(new Error("enough"));
    await expect(finding).rejects.toThrow("enough");
  });

  it("is asked for again when the connection broke off meanwhile", async () => {
    let back = (): void => {};
    directory.lookup = async () => {
      if (directory.isConnected) return entryOf("bob");
      throw TalkError.unreachable(SERVER, "broken off");
    };
    directory.whenConnected = () =>
      new Promise((resolve) => {
        back = () => {
          directory.isConnected = true;
          resolve();
        };
      });
    directory.isConnected = false;
    const finding = find("bob");
    await sleep(10);
    back();
    expect(await finding).toMatchObject({ name: "bob" });
  });

  it("under a name that is remembered with another key is refused, whatever the directory calls it", async () => {
    const finding = book.find("bob", "bob", never);
    directory.answer(entryOf("mallory"));
    book.remember("bob", await finding);
    book.learn(entryOf("bob"));
    expect(() => book.known("bob")).toThrow(expect.objectContaining({ code: "key-mismatch", subject: "bob" }));
    await expect(find("bob")).rejects.toMatchObject({ code: "key-mismatch" });
  });

  it.each([
    [1, /bob has to upgrade/],
    [3, /you have to upgrade/],
  ])("that speaks version %i of the peer protocol is refused, with who must upgrade", async (protocol, who) => {
    book.learn(entryOf("bob", 4000, { protocol }));
    expect(() => book.known("bob")).toThrow(
      expect.objectContaining({ code: "not-understood", message: expect.stringMatching(who) }),
    );
    await expect(find("bob")).rejects.toMatchObject({ code: "not-understood" });
  });
});

describe("a name that the server does not know", () => {
  const noSuchUser = { code: "no-such-user", message: 'no user "Bob" is on' };
  const askFor = (name: string) => book.find(name, "Bob", never);

  it("is no user, at once, when the server has settled", async () => {
    peers.remember(SERVER, "bob", entryOf("bob").key);
    const finding = askFor("bob");
    directory.answer(null);
    await expect(finding).rejects.toMatchObject(noSuchUser);
  });

  it("is no user, at once, when nobody ever had it, though the server has just started", async () => {
    directory.settlingMs = 10_000;
    const finding = askFor("bob");
    directory.answer(null);
    await expect(finding).rejects.toMatchObject(noSuchUser);
  });

  it.each<[string, (bob: DirectoryEntry) => void]>([
    ["is remembered with its key", ({ key }) => peers.remember(SERVER, "bob", key)],
    ["belongs to a key", ({ key }) => directory.owners.set("bob", key)],
  ])("is asked for again while a server settles, if its client %s", async (_what, meet) => {
    const bob = entryOf("bob");
    meet(bob);
    await sleep(1);
    // The server was away, and has just started.
    book.invalidate();
    directory.serverStartedAt = performance.now();
    directory.settlingMs = 10_000;
    const finding = askFor("bob");
    for (let i = 1; i <= 3; i++) {
      while (directory.asked.length < i) await sleep(5);
      directory.answer(null);
    }
    while (directory.asked.length < 4) await sleep(5);
    directory.answer(bob);
    expect((await finding).entry).toBe(bob);
  });

  it("is reached at its last address for a minute, while the server has not said that it left", async () => {
    const bob = entryOf("bob");
    book.learn(bob);
    await sleep(STALE_MS);
    for (let elapsed = 0; elapsed < 50_000; elapsed += 10_000) {
      const finding = askFor("bob");
      directory.answer(null);
      expect((await finding).entry).toBe(bob);
      await sleep(10_000);
    }
    await sleep(10_000);
    const finding = askFor("bob");
    directory.answer(null);
    await expect(finding).rejects.toMatchObject(noSuchUser);
  });

  it("that was reached at its last address is no user when the message's time is over and it has not come back", async () => {
    const bob = entryOf("bob");
    book.learn(bob);
    await sleep(STALE_MS);
    const finding = askFor("bob");
    directory.answer(null);
    const recipient = await finding;
    await sleep(1);
    expect(book.objectionTo("bob", recipient, performance.now())).toMatchObject({ code: "no-such-user" });
    // One that was on when the message was sent may be there, and silent.
    book.learn(bob);
    const since = performance.now();
    await sleep(1);
    const again = book.lookup("bob");
    directory.answer(null);
    await again;
    expect(book.objectionTo("bob", recipient, since)).toBeNull();
  });

  it("is no user when the caller's time is over while the server settles", async () => {
    peers.remember(SERVER, "bob", entryOf("bob").key);
    directory.settlingMs = 10_000;
    const limit = new AbortController();
    const finding = book.find("bob", "Bob", limit.signal);
    directory.answer(null);
    await sleep(10);
    limit.abort(TalkError.notDelivered("Bob", "nothing is known of its address after 1 s"));
    await expect(finding).rejects.toMatchObject(noSuchUser);
  });

  it("is no user as soon as the server has settled", async () => {
    directory.owners.set("bob", entryOf("bob").key);
    directory.settlingMs = 60;
    const finding = askFor("bob");
    directory.answer(null);
    while (directory.asked.length < 2) await sleep(5);
    directory.settlingMs = 0;
    directory.answer(null);
    await expect(finding).rejects.toMatchObject(noSuchUser);
  });

  it("is no user when this server has seen the client leave", async () => {
    directory.settlingMs = 10_000;
    directory.serverStartedAt = performance.now() - 1;
    book.learn(entryOf("bob"));
    book.onLeft("BOB");
    const finding = askFor("bob");
    directory.answer(null);
    await expect(finding).rejects.toMatchObject(noSuchUser);
  });

  it("is waited for no longer than the caller wants", async () => {
    directory.settlingMs = 10_000;
    directory.owners.set("bob", entryOf("bob").key);
    const abort = new AbortController();
    const finding = find("bob", abort.signal);
    directory.answer(null);
    await sleep(10);
    abort.abort(new Error("enough"));
    await expect(finding).rejects.toThrow("enough");
  });
});

describe("an open session", () => {
  it("is used whatever the server does not say, for as long as it is open", async () => {
    const bob = entryOf("bob");
    await talkTo(bob);
    sessions.add(bob.key);
    book.onLeft("bob");
    expect(book.known("bob")?.entry).toBe(bob);
    expect(directory.asked).toEqual(["bob"]); // beside the message
    directory.answer(null);
    expect(book.known("bob")?.entry).toBe(bob);
    expect(directory.asked).toEqual(["bob"]);
    const finding = find("bob");
    directory.answer(null);
    expect(await finding).toBe(bob);
    directory.isConnected = false;
    expect(await find("bob")).toBe(bob);
    directory.isConnected = true;
    sessions.clear();
    const gone = find("bob");
    directory.answer(null);
    await expect(gone).rejects.toMatchObject({ code: "no-such-user" });
  });

  it("is found where the server saw the client last, though the last message was begun before it moved there", async () => {
    const before = entryOf("bob", 4000);
    await talkTo(before);
    const after = entryOf("bob", 5000, { key: before.key });
    book.learn(after); // messages under way follow
    sessions.add(`${after.key} 5000`);
    book.onLeft("bob");
    const finding = find("bob");
    directory.answer(null);
    expect(await finding).toBe(after);
  });

  it("with a peer that has only sent to us is used as well", async () => {
    const bob = entryOf("bob");
    book.learn(bob);
    sessions.add(bob.key);
    book.onLeft("bob");
    const finding = find("bob");
    directory.answer(null);
    expect(await finding).toBe(bob);
  });

  it("goes on with the remembered key when the server gives the name to another one", async () => {
    const [bob, other] = [entryOf("bob"), entryOf("bob")];
    await talkTo(bob);
    sessions.add(bob.key);
    book.learn(other);
    const recipient = book.known("bob");
    expect(recipient?.entry).toBe(bob);
    // Should it not answer, the other key is the reason.
    expect(recipient && book.objectionTo("bob", recipient, 0)).toMatchObject({ code: "key-mismatch" });
    sessions.clear();
    expect(() => book.known("bob")).toThrow(expect.objectContaining({ code: "key-mismatch" }));
  });

  it("with a key that was never remembered is no reason to distrust the directory", async () => {
    const [stranger, bob] = [entryOf("bob"), entryOf("bob")];
    book.learn(stranger);
    expect(book.known("bob")?.entry).toBe(stranger);
    sessions.add(stranger.key);
    book.learn(bob);
    const recipient = book.known("bob");
    expect(recipient?.entry).toBe(bob);
    expect(recipient && book.objectionTo("bob", recipient, 0)).toBeNull();
  });
});

describe("a sender", () => {
  const verify = async (name: string, key: Buffer): Promise<unknown> => {
    try {
      return (await book.verifySender(name, key)).verified;
    } catch (error) {
      return error instanceof TalkError ? error.code : error;
    }
  };

  it("that the server binds the name to is verified, and remembered from then on", async () => {
    const bob = entryOf("bob");
    directory.owners.set("bob", bob.key);
    expect(await book.verifySender("bob", bytesOf(bob))).toMatchObject({
      verified: true,
      fingerprint: bob.fingerprint,
    });
    directory.owners.clear();
    // It was pinned just now: the server need not be asked.
    expect(await verify("bob", bytesOf(entryOf("bob")))).toBe("key-mismatch");
    expect(peers.check(SERVER, "bob", bob.key)).toBe("known");
  });

  it("of whose name the server does not know the owner is verified if it is on with that key", async () => {
    const bob = entryOf("bob");
    const verdict = verify("bob", bytesOf(bob));
    while (directory.asked.length === 0) await sleep(1);
    directory.answer(bob);
    expect(await verdict).toBe(true);
  });

  it("under a name that belongs to another key is refused, though never met", async () => {
    directory.owners.set("bob", entryOf("bob").key);
    expect(await verify("bob", bytesOf(entryOf("bob")))).toBe("refused");
  });

  it("that neither side knows is heard, and not verified", async () => {
    const verdict = verify("bob", bytesOf(entryOf("bob")));
    while (directory.asked.length === 0) await sleep(1);
    directory.answer(null);
    expect(await verdict).toBe(false);
    expect(peers.list()).toEqual([]);
  });

  describe("whose key is remembered is verified", () => {
    const bob = entryOf("bob");
    beforeEach(() => peers.remember(SERVER, "bob", bob.key));

    it("while the server is away", async () => {
      directory.isConnected = false;
      expect(await verify("bob", bytesOf(bob))).toBe(true);
    });

    it("while the server does not answer", async () => {
      directory.ownerOf = () => new Promise(() => {});
      expect(await verify("bob", bytesOf(bob))).toBe(true);
    });

    it("when the connection breaks off over the question", async () => {
      directory.ownerOf = async () => {
        directory.isConnected = false;
        throw TalkError.unreachable(SERVER, "it closed the connection");
      };
      expect(await verify("bob", bytesOf(bob))).toBe(true);
    });

    it("when the server does not know the name (yet)", async () => {
      const verdict = verify("bob", bytesOf(bob));
      while (directory.asked.length === 0) await sleep(1);
      directory.answer(null);
      expect(await verdict).toBe(true);
    });

    it("but not when the server binds the name to another key", async () => {
      directory.owners.set("bob", entryOf("bob").key);
      expect(await verify("bob", bytesOf(bob))).toBe(false);
      directory.owners.clear();
      directory.isConnected = false; // what it said last counts
      expect(await verify("bob", bytesOf(bob))).toBe(false);
    });
  });

  it("whose key is remembered does not wait for the server once it has told of the name", async () => {
    const bob = entryOf("bob");
    peers.remember(SERVER, "bob", bob.key);
    directory.owners.set("bob", bob.key);
    expect(await verify("bob", bytesOf(bob))).toBe(true);
    await sleep(STALE_MS);
    let answer = (_: NameOwner | null): void => {};
    directory.ownerOf = () => new Promise((resolve) => (answer = resolve));
    expect(book.verifySender("bob", bytesOf(bob))).toMatchObject({ verified: true }); // no promise
    // What the server says then counts for the next one.
    const { key } = entryOf("bob");
    answer({ key, user: null, uid: null, attested: null, isUnattestedLogin: false });
    await sleep(1);
    expect(await verify("bob", bytesOf(bob))).toBe(false);
  });

  it("whose key is remembered waits for a silent server with the first message only", async () => {
    const bob = entryOf("bob");
    peers.remember(SERVER, "bob", bob.key);
    directory.ownerOf = () => new Promise(() => {});
    expect(await verify("bob", bytesOf(bob))).toBe(true);
    const before = performance.now();
    expect(await verify("bob", bytesOf(bob))).toBe(true);
    expect(performance.now() - before).toBeLessThan(100); // of the test's clock
  });

  it("is not verified while the server does not answer, but for whom it has told of", async () => {
    directory.ownerOf = () => new Promise(() => {});
    const [known, stranger] = [entryOf("bob"), entryOf("eve")];
    book.learn(known);
    await sleep(STALE_MS);
    expect(await verify("bob", bytesOf(known))).toBe(true);
    expect(await verify("eve", bytesOf(stranger))).toBe(false);
  });

  it("is refused when the programs of the claimed user use other keys, and so is a message to it", async () => {
    const bob = entryOf("bob");
    impostors.add(bob.key);
    directory.owners.set("bob", bob.key);
    try {
      await expect(async () => book.verifySender("bob", bytesOf(bob))).rejects.toMatchObject({ code: "key-mismatch" });
      book.learn(bob);
      expect(() => book.known("bob")).toThrow(/other keys/);
    } finally {
      impostors.clear();
    }
  });

  it("with another key than the remembered one is refused, unless the kernel of this host vouches for it", async () => {
    const [before, after] = [entryOf("bob"), entryOf("bob")];
    directory.owners.set("bob", before.key);
    expect(await verify("bob", bytesOf(before))).toBe(true);
    directory.owners.set("bob", after.key);
    expect(await verify("bob", bytesOf(after))).toBe("key-mismatch");
    vouched.add(after.key);
    const warned = new Promise<Error>((resolve) => process.once("warning", resolve));
    try {
      await sleep(STALE_MS);
      expect(await verify("bob", bytesOf(after))).toBe(true);
      expect((await warned).message).toContain(after.fingerprint);
      expect(peers.check(SERVER, "bob", after.key)).toBe("known");
    } finally {
      vouched.clear();
    }
  });

  it("that is met for the first time is looked up, so that an answer finds its way while the server is away", async () => {
    const bob = entryOf("bob");
    directory.owners.set("bob", bob.key);
    expect(await verify("bob", bytesOf(bob))).toBe(true);
    directory.answer(bob);
    await sleep(0);
    directory.isConnected = false;
    expect(book.known("bob")?.entry).toBe(bob);
    directory.isConnected = true;
    await sleep(STALE_MS);
    expect(await verify("bob", bytesOf(bob))).toBe(true);
    expect(directory.asked).toEqual(["bob"]);
  });

  it("is asked about once while the answer is fresh, whether it is on or only sends", async () => {
    const bob = entryOf("bob");
    directory.owners.set("bob", bob.key);
    let asked = 0;
    const { ownerOf } = directory;
    directory.ownerOf = (name) => {
      asked++;
      return ownerOf.call(directory, name);
    };
    for (let i = 0; i < 5; i++) expect(await verify("bob", bytesOf(bob))).toBe(true);
    expect(asked).toBe(1);
    await sleep(STALE_MS);
    expect(await verify("bob", bytesOf(bob))).toBe(true);
    expect(asked).toBe(2);
  });

  it("pushes nobody out of the book whom we write to", async () => {
    const bob = entryOf("bob");
    await talkTo(bob);
    const crowd = entryOf("crowd");
    for (let i = 0; i < 3000; i++) {
      book.learn(entryOf(`on${i}`, 4000, { key: crowd.key }));
      directory.owners.set(`stranger${i}`, crowd.key);
      await verify(`stranger${i}`, Buffer.alloc(32));
    }
    expect(book.stats().contacts).toBe(1025);
    directory.isConnected = false;
    expect(book.known("bob")?.entry).toBe(bob);
  });

  it("is heard when its key cannot be remembered, and not verified", async () => {
    const warnings: Error[] = [];
    const listen = (warning: Error) => warnings.push(warning);
    process.on("warning", listen);
    symlinkSync(join(state.path, "gone", "file"), join(state.path, "known_peers")); // cannot be written, also not by root
    for (const name of ["bob", "carol"]) {
      const sender = entryOf(name);
      book.learn(sender);
      expect(await verify(name, bytesOf(sender))).toBe(false);
      const recipient = book.known(name);
      if (recipient) book.remember(name, recipient);
    }
    await sleep(0);
    process.off("warning", listen);
    expect(warnings).toEqual([expect.objectContaining({ code: "PTALK_NOT_REMEMBERED" })]);
  });
});

describe("a lookup that memory answers", () => {
  beforeEach(() => {
    vi.useRealTimers();
    vi.useFakeTimers(); // to the millisecond
  });

  it("is told to the server, once for many, and not in their way", async () => {
    book.learn(entryOf("bob"));
    for (let i = 0; i < 100; i++) book.known("bob");
    await sleep(19);
    expect(directory.touches).toBe(0);
    await sleep(1);
    expect(directory.touches).toBe(1);
    expect(book.stats()).toMatchObject({ fromMemory: 100, lookups: 0 });
    for (let i = 0; i < 100; i++) book.known("bob");
    await sleep(249);
    expect(directory.touches).toBe(1);
    await sleep(1);
    expect(directory.touches).toBe(2);
    book.known("bob");
    book.tellLookups(); // somebody wants to see it
    expect(directory.touches).toBe(3);
    book.tellLookups();
    await sleep(1_000);
    expect(directory.touches).toBe(3);
  });

  it("is not told when the server was asked anyway", async () => {
    const finding = find("bob");
    directory.answer(entryOf("bob"));
    await finding;
    book.tellLookups();
    await sleep(1_000);
    expect(directory.touches).toBe(0);
    expect(book.stats()).toMatchObject({ fromMemory: 0, lookups: 1 });
  });
});
