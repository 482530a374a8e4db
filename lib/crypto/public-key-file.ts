// A public key on disk: one line of text that anybody may read. ptalk's own keys are secret files; this one is not.
import { closeSync, constants, openSync, readSync, writeFileSync } from "node:fs";
import { TalkError } from "../base/errors.ts";
import { textFault } from "../base/text-file.ts";
import { decodeBase64, KEY_BYTES } from "./signed-statements.ts";

const HEAD = "ptalk-public-key-1";
/** The end of such a file's name, as with ssh. */
export const PUBLIC_KEY_SUFFIX = ".pub";
const MAX_FILE_BYTES = 1024;

/** @throws TalkError refused for a file that is there already; the system's error */
export function writePublicKey(path: string, key: string): void {
  try {
    writeFileSync(path, `${HEAD} ${key}\n`, { flag: "wx", mode: 0o644 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    throw TalkError.refused(`${path} is there already: move it away first`, error);
  }
}

/** @returns how many bytes were read. @throws TalkError bad-data where there is no file; the system's error */
function readHead(path: string, bytes: Buffer): number {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw TalkError.badData(`there is no file ${path}`);
  }
  try {
    return readSync(fd, bytes, 0, bytes.length, 0);
  } finally {
    closeSync(fd);
  }
}

/** @returns the key, base64. @throws TalkError bad-data; the system's error */
export function readPublicKey(path: string): string {
  const bytes = Buffer.alloc(MAX_FILE_BYTES);
  const length = readHead(path, bytes);
  const fault = textFault(bytes.subarray(0, length));
  if (fault !== null) throw TalkError.badData(`${path}, line ${fault.line}: ${fault.reason}`);
  const [head, key = "", ...rest] = bytes.toString("latin1", 0, length).trim().split(" ");
  if (head === HEAD && rest.length === 0 && decodeBase64(key, KEY_BYTES) !== null) return key;
  throw TalkError.badData(
    `${path} holds no public key of ptalk: make one with ptalk key export FILE${PUBLIC_KEY_SUFFIX}`,
  );
}
