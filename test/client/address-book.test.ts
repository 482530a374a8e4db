// Whom the address book believes, and how long it waits: with a directory that answers when the test wants it to.
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AddressBook, type DirectorySource } from "../../lib/client/address-book.ts";
import type { DirectoryRecord } from "../../lib/client/directory-record.ts";
import { Identity } from "../../lib/crypto/identity.ts";
import { KnownPeers } from "../../lib/store/known-peers.ts";
import { freshStateDir } from "../helpers/lookup-server.ts";

const SERVER = "127.0.0.1:1";
const never = new AbortController().signal;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function record(name: string, port = 4000): DirectoryRecord {
  const identity = Identity.generate();
  const key = identity.publicKey.toString("base64");
  const address = "127.0.0.1";
  const times = { startedAt: 1, lastLookupAt: null };
  return { name, address, addresses: [address], port, host: "", key, fingerprint: identity.fingerprint, ...times };
}

/** Answers of the directory, each given when the test says so. */
class Directory implements DirectorySource {
  connected = true;
  readonly asked: string[] = [];
  readonly owners = new Map<string, string>();
  readonly #answers: ((record: DirectoryRecord | null) => void)[] = [];

  lookup(name: string): Promise<DirectoryRecord | null> {
    this.asked.push(name);
    return new Promise((resolve) => this.#answers.push(resolve));
  }
  /** Answers the question asked longest ago. */
  answer(record: DirectoryRecord | null): void {
    this.#answers.shift()?.(record);
  }
  async ownerOf(name: string): Promise<string | null> {
    return this.owners.get(name) ?? null;
  }
  whenConnected(): Promise<void> {
    return new Promise(() => {});
  }
}

let state: ReturnType<typeof freshStateDir>;
let directory: Directory;
let book: AddressBook;
beforeEach(() => {
  state = freshStateDir();
  directory = new Directory();
  book = new AddressBook(SERVER, directory, new KnownPeers(state.path));
});
afterEach(() => state.remove());

/** Resolves several times, and tells the order in which the calls came through. */
function inOrder(count: number): Promise<number[]> {
  const order: number[] = [];
  const calls = Array.from({ length: count }, (_, i) => book.resolve("bob", never).then(() => order.push(i)));
  return Promise.all(calls).then(() => order);
}

describe("the order of messages to one name", () => {
  it("is that of the calls, when the answer comes", async () => {
    const order = inOrder(4);
    directory.answer(record("bob"));
    expect(await order).toEqual([0, 1, 2, 3]);
    expect(directory.asked).toEqual(["bob"]);
  });

  it("is that of the calls, when what was known is asked for again", async () => {
    const bob = record("bob");
    book.learn(bob);
    await sleep(2_100);
    const order = inOrder(4);
    directory.answer(bob);
    expect(await order).toEqual([0, 1, 2, 3]);
  });

  it("is that of the calls, when the server tells of the name while it is asked", async () => {
    const order: string[] = [];
    const first = book.resolve("bob", never).then(() => order.push("first"));
    book.learn(record("bob"));
    const second = book.resolve("BOB", never).then(() => order.push("second"));
    await sleep(20);
    directory.answer(record("bob"));
    await Promise.all([first, second]);
    expect(order).toEqual(["first", "second"]);
  });

  it("survives one that is given up in the middle", async () => {
    const order: string[] = [];
    const abort = new AbortController();
    const first = book.resolve("bob", never).then(() => order.push("first"));
    const second = book.resolve("bob", abort.signal).catch(() => order.push("given up"));
    abort.abort();
    await second;
    book.learn(record("bob"));
    const third = book.resolve("bob", never).then(() => order.push("third"));
    await sleep(20);
    directory.answer(record("bob"));
    await Promise.all([first, third]);
    expect(order).toEqual(["given up", "first", "third"]);
  });
});

describe("a directory that does not answer", () => {
  it("holds nobody up who is known, and its late answer counts", async () => {
    const [before, after] = [record("bob", 4000), record("bob", 5000)];
    book.learn(before);
    await sleep(2_100);
    expect(await book.resolve("bob", never)).toBe(before);
    directory.answer(after);
    await sleep(0);
    expect(await book.resolve("bob", never)).toBe(after);
  });

  it("is waited for no longer than the caller wants", async () => {
    const abort = new AbortController();
    const resolving = book.resolve("bob", abort.signal);
    abort.abort(new Error("enough"));
    await expect(resolving).rejects.toThrow("enough");
  });

  it("leaves a sender unverified; known ones are who they are", async () => {
    const [known, stranger] = [record("bob"), record("eve")];
    book.learn(known);
    await sleep(2_100);
    expect(await book.verifySender("bob", known.key)).toEqual({ verified: true });
    expect(await book.verifySender("eve", stranger.key)).toEqual({ verified: false });
  });

  it("may break off: then it is asked again when it is back", async () => {
    let back = (): void => {};
    directory.lookup = async () => {
      if (directory.connected) return record("bob");
      throw new Error("broken off");
    };
    directory.whenConnected = () =>
      new Promise((resolve) => {
        back = () => {
          directory.connected = true;
          resolve();
        };
      });
    directory.connected = false;
    const resolving = book.resolve("bob", never);
    await sleep(10);
    back();
    expect(await resolving).toMatchObject({ name: "bob" });
  });
});

describe("a sender", () => {
  it("that is not on is known by whose the name is", async () => {
    const bob = record("bob");
    directory.owners.set("bob", bob.key);
    const own = book.verifySender("Bob", bob.key);
    directory.answer(null);
    expect(await own).toEqual({ verified: true });
    // It was pinned just now: nobody has to be asked.
    expect(await book.verifySender("bob", record("bob").key)).toMatchObject({ refused: { code: "key-mismatch" } });
  });

  it("under a name that belongs to another key is refused, though never met", async () => {
    directory.owners.set("bob", record("bob").key);
    const standing = book.verifySender("bob", record("bob").key);
    directory.answer(null);
    expect(await standing).toMatchObject({ refused: { code: "refused" } });
  });

  it("pushes nobody out of the book whom we write to", async () => {
    const bob = record("bob");
    const resolving = book.resolve("bob", never);
    directory.answer(bob);
    await resolving;
    for (let i = 0; i < 3000; i++) {
      book.learn({ ...bob, name: `on${i}` });
      const standing = book.verifySender(`stranger${i}`, "a key");
      directory.answer(i % 2 === 0 ? null : { ...bob, name: `stranger${i}` });
      await standing;
    }
    directory.connected = false;
    expect(await book.resolve("bob", never)).toBe(bob);
  });

  it("is heard when its key cannot be remembered, and not verified", async () => {
    const warnings: Error[] = [];
    const listen = (warning: Error) => warnings.push(warning);
    process.on("warning", listen);
    symlinkSync(join(state.path, "gone", "file"), join(state.path, "known_peers")); // cannot be written, also not by root
    for (const name of ["bob", "carol"]) {
      const sender = record(name);
      book.learn(sender);
      expect(await book.verifySender(name, sender.key)).toEqual({ verified: false });
      book.remember(name, sender.key);
    }
    await sleep(0);
    process.off("warning", listen);
    expect(warnings).toEqual([expect.objectContaining({ code: "PTALK_NOT_REMEMBERED" })]);
  });
});

it("remembers the name that was asked for, whatever the directory calls it", async () => {
  const [asked, other] = [record("mallory"), record("bob")];
  const resolving = book.resolve("bob", never);
  directory.answer(asked);
  const found = await resolving;
  book.remember("bob", found.key);
  book.learn(other);
  await expect(book.resolve("bob", never)).rejects.toMatchObject({ code: "key-mismatch" });
});
