// The user's key, and those before it. rotateKey(), step by step; a crash between two of them leaves the old key in force, and the next attempt
// goes on with the same new one:
//  1. A new key is made in key.next; one that is there already is taken.
//  2. The old key signs it. The chain of signatures that leads to it is written into key-chains; nobody asks for it before the key is in force.
//  3. The old key is linked into old-keys/: what was left for it at a server can be opened for some time.
//  4. key.next becomes the key.
// Programs that run keep the key that they have read.
import { randomBytes } from "node:crypto";
import { linkSync, readdirSync, renameSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { TalkError } from "../base/errors.ts";
import { makeFolder, syncNow } from "../base/files.ts";
import { Identity, loadOrCreateIdentity, SEED_BYTES } from "../crypto/identity.ts";
import { readSeedFile, writeSeedFileOnce } from "../crypto/key-file.ts";
import { extended, linkTo, predecessorsOf } from "../crypto/rotation.ts";
import { decodeBase64, KEY_BYTES } from "../crypto/signed-statements.ts";
import { PinFile, type PinFormat } from "./pin-file.ts";
import { keyChainsFile, keyFile, oldKeysFolder } from "./state-paths.ts";

/** Days for which a replaced key opens what was sealed for it: four times as long as servers keep messages, unless told otherwise. */
export const OLD_KEY_DAYS = 30;
const DAY_MS = 86_400_000;
/** Milliseconds since the epoch of the rotation, and random digits. */
const OLD_KEY_NAME = /^(\d{1,15})-[0-9a-f]{8}$/;

const CHAINS: PinFormat = {
  subject: (text) => decodeBase64(text, KEY_BYTES) !== null,
  spelling: (text) => text,
  value: (text) => /^[A-Za-z0-9+/=:,]+$/.test(text),
  shown: "KEY CHAIN",
};

/** The chain (crypto/rotation.ts) that leads to this key of the user; empty if it is the first. @throws TalkError bad-config */
export function chainTo(stateDir: string, identity: Identity): string {
  const key = identity.publicKey.toString("base64");
  const chain = new PinFile(keyChainsFile(stateDir), CHAINS).get(key) ?? "";
  return chain !== "" && predecessorsOf(key, chain) !== null ? chain : "";
}

/** Replaces the user's key, which is made first if there is none. @param step called between the steps: for tests */
export function rotateKey(stateDir: string, step: (done: string) => void = () => {}) {
  const path = keyFile(stateDir);
  const before = loadOrCreateIdentity(path);
  const next = `${path}.next`;
  const after = new Identity(writeSeedFileOnce(next, randomBytes(SEED_BYTES)));
  step("made");
  const key = after.publicKey.toString("base64");
  const chains = new PinFile(keyChainsFile(stateDir), CHAINS);
  chains.pin(key, extended(chainTo(stateDir, before), linkTo(before, key, Date.now())));
  syncNow(chains.path);
  step("signed");
  const folder = oldKeysFolder(stateDir);
  makeFolder(folder);
  linkSync(path, join(folder, `${Date.now()}-${randomBytes(4).toString("hex")}`));
  syncNow(folder);
  step("linked");
  putInForce(next, path, after);
  syncNow(stateDir);
  removeExpired(folder);
  return { before, after };
}

function putInForce(next: string, path: string, after: Identity): void {
  try {
    renameSync(next, path);
  } catch (error) {
    // Another one that rotates has taken the same step just now.
    if (!loadOrCreateIdentity(path).publicKey.equals(after.publicKey)) throw error;
  }
}

/** Keys that were replaced in the last days, the latest first. Unreadable ones are left out: they open nothing. */
export function oldIdentities(stateDir: string): Identity[] {
  const folder = oldKeysFolder(stateDir);
  return names(folder)
    .filter((name) => !isExpired(name))
    .sort((a, b) => Number.parseInt(b, 10) - Number.parseInt(a, 10))
    .flatMap((name) => {
      try {
        const seed = readSeedFile(join(folder, name));
        return seed === null ? [] : [new Identity(seed)];
      } catch (error) {
        if (error instanceof TalkError) return [];
        throw error;
      }
    });
}

function removeExpired(folder: string): void {
  for (const name of names(folder)) if (isExpired(name)) unlinkSync(join(folder, name));
}

function names(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => OLD_KEY_NAME.test(name));
  } catch {
    return [];
  }
}

function isExpired(name: string): boolean {
  return Number.parseInt(name, 10) < Date.now() - OLD_KEY_DAYS * DAY_MS;
}
