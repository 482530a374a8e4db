// The secret seed on disk: one line of text, mode 0600. Created whole or not at all, never overwritten.
import { randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  fchmodSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { TalkError } from "../base/errors.ts";
import { makeFolder, syncNow } from "../base/files.ts";
import { systemCode } from "../base/system-error.ts";
import { textFault } from "../base/text-file.ts";

const HEAD = "ptalk-key-1 "; // then the base64 of the 32 bytes and a newline
const LINE = /^ptalk-key-1 ([A-Za-z0-9+/]{43}=)\n?$/;
const MAX_FILE_BYTES = 256; // a key file has 57; a longer one is something else, and is not read into memory

/** The seed in the file, or null when there is no such file. Throws as loadOrCreateIdentity says. */
export function readSeedFile(path: string): Buffer | null {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null;
    throw error;
  }
  try {
    refuseUnlessPrivate(fd, path);
    const bytes = Buffer.alloc(MAX_FILE_BYTES);
    const length = readSync(fd, bytes, 0, MAX_FILE_BYTES, 0);
    const found = LINE.exec(bytes.toString("latin1", 0, length));
    const fault = textFault(bytes.subarray(0, length));
    bytes.fill(0);
    // The key may well be in it: advice to have a new one made would cost its owner the name.
    if (fault !== null) throw TalkError.badData(`${path}, line ${fault.line}: ${fault.reason}`);
    if (!found?.[1]) throw TalkError.badData(`${path} holds no ptalk key; move it away to have a new one made`);
    return Buffer.from(found[1], "base64");
  } finally {
    closeSync(fd);
  }
}

/** Writes the seed unless a file is already there, whose seed is returned then: the first of two creators wins. */
export function writeSeedFileOnce(path: string, seed: Buffer): Buffer {
  const folder = dirname(path);
  makeFolder(folder);
  const temporary = `${path}.${process.pid}.${randomBytes(6).toString("hex")}`;
  const fd = openSync(temporary, "wx", 0o600);
  try {
    try {
      fchmodSync(fd, 0o600); // an odd umask must not leave a key that its owner cannot read
      writeSync(fd, `${HEAD}${seed.toString("base64")}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    // link(2) and not rename(2): it fails when the name exists, so no key is ever replaced.
    linkSync(temporary, path);
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw error;
    const theirs = readSeedFile(path);
    if (!theirs) throw error; // made and taken away again between the two calls: let the caller see it
    return theirs;
  } finally {
    unlinkSync(temporary);
  }
  syncNow(folder);
  return seed;
}

/**
 * Copies a key. A file that is there is left as it is, which is no error if it holds the same key.
 * @throws TalkError bad-data, refused
 */
export function copyKey(from: string, to: string): void {
  const seed = readSeedFile(from);
  if (seed === null) throw TalkError.badData(`there is no file ${from}`);
  if (existsSync(to) && !isKeyOf(to, seed)) {
    throw TalkError.refused(`${to} is there already, and is another key or none: move it away first`);
  }
  const written = writeSeedFileOnce(to, seed);
  if (!written.equals(seed)) throw TalkError.refused(`${to} is another key: move it away first`);
}

function isKeyOf(path: string, seed: Buffer): boolean {
  try {
    return readSeedFile(path)?.equals(seed) ?? false;
  } catch (error) {
    if (error instanceof TalkError) return false;
    throw error;
  }
}

/** As ssh does: a secret that others can read is not a secret any more. @throws TalkError refused, bad-data: no regular file */
export function refuseUnlessPrivate(fd: number, path: string): void {
  const stat = fstatSync(fd);
  if (!stat.isFile()) throw TalkError.badData(`${path} is not a regular file`);
  const uid = process.geteuid?.() ?? stat.uid;
  if (stat.uid !== uid) throw TalkError.refused(`${path} belongs to uid ${stat.uid}, not to you (uid ${uid})`);
  if ((stat.mode & 0o077) !== 0) {
    const mode = (stat.mode & 0o777).toString(8).padStart(4, "0");
    throw TalkError.refused(`${path} has mode ${mode}: others can reach the key. Fix it with: chmod 600 ${path}`);
  }
}
