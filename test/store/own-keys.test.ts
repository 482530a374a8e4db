// A user's key that is replaced: what a crash between two steps leaves, and what the keys before can still do.
import { existsSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { loadOrCreateIdentity } from "../../lib/crypto/identity.ts";
import { predecessorsOf } from "../../lib/crypto/rotation.ts";
import { openSealed, sealFor } from "../../lib/crypto/sealed-message.ts";
import { chainTo, OLD_KEY_DAYS, oldIdentities, rotateKey } from "../../lib/store/own-keys.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "ptalk-own-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

const own = () => loadOrCreateIdentity(join(dir, "key"));
const text = ({ publicKey }: { publicKey: Buffer }): string => publicKey.toString("base64");

it("has its first key without a chain, and each later one with a chain from all before", () => {
  const first = own();
  expect(chainTo(dir, first)).toBe("");
  const { before, after } = rotateKey(dir);
  expect([before.fingerprint, after.fingerprint]).toEqual([first.fingerprint, own().fingerprint]);
  const third = rotateKey(dir).after;
  expect(predecessorsOf(text(third), chainTo(dir, third))).toEqual([text(first), text(after)]);
  expect(predecessorsOf(text(after), chainTo(dir, after))).toEqual([text(first)]);
  expect(statSync(join(dir, "key")).mode & 0o777).toBe(0o600);
});

it("opens what was sealed for a key before, for some weeks", () => {
  const first = own();
  const sealed = sealFor(first.publicKey, own(), Buffer.from("hello")) as Buffer;
  rotateKey(dir);
  rotateKey(dir);
  expect(openSealed(own(), sealed)).toBeNull();
  const opened = () => oldIdentities(dir).map((identity) => openSealed(identity, sealed)?.body.toString());
  expect(opened()).toEqual([undefined, "hello"]);
  const folder = join(dir, "old-keys");
  for (const name of readdirSync(folder)) {
    expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);
    const old = Date.now() - (OLD_KEY_DAYS + 1) * 86_400_000;
    renameSync(join(folder, name), join(folder, name.replace(/^\d+/, String(old))));
  }
  expect(opened()).toEqual([]);
  rotateKey(dir);
  expect(readdirSync(folder)).toHaveLength(1);
});

it.each(["made", "signed", "linked"])("loses nothing in a crash once the new key is %s", (crash) => {
  const first = own();
  const killed = new Error("killed");
  const dies = (done: string): void => {
    if (done === crash) throw killed;
  };
  expect(() => rotateKey(dir, dies)).toThrow(killed);
  expect(own().fingerprint).toBe(first.fingerprint);
  expect(chainTo(dir, own())).toBe("");
  const next = loadOrCreateIdentity(join(dir, "key.next"));
  const { after } = rotateKey(dir);
  expect([after.fingerprint, own().fingerprint]).toEqual([next.fingerprint, next.fingerprint]);
  expect(predecessorsOf(text(after), chainTo(dir, after))).toEqual([text(first)]);
  expect(existsSync(join(dir, "key.next"))).toBe(false);
  expect(oldIdentities(dir).some(({ fingerprint }) => fingerprint === first.fingerprint)).toBe(true);
});
