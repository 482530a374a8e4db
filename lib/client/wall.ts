// Messages of an administrator to every user who is on: their recipients, and the senders whose messages count as such.
import { randomUUID } from "node:crypto";
import { foldName } from "../base/names.ts";
import type { DirectoryEntry } from "../directory/entry.ts";
import type { IncomingMessage } from "../peer/types.ts";
import { hasLostKeys, keysOfUser } from "../presence/local-keys.ts";
import type { WallResult } from "./types.ts";

/** Messages under way at once. */
const AT_ONCE = 64;
const ROOT = 0;

/**
 * Whether a wall is root's: the sender has proved to hold a key that a program of root's uses on this machine, as root's own segment of the
 * local table shows. What a server says counts for nothing here.
 */
export function isFromRoot({ key }: Pick<IncomingMessage, "key">): boolean {
  return keysOfUser(ROOT)?.has(key.toString("base64")) ?? false;
}

/** Whether no receiver on this machine can tell root's programs from others: they have used more keys than their segment shows. */
export const isRootUnknown = (): boolean => hasLostKeys(ROOT);

/** The server's word about the holder of a name, asked now. */
export interface AdminHolder {
  /** base64 */
  readonly key: string;
  readonly uid: number;
}

/**
 * Whether a wall is an administrator's of the server: the server says so of the holder of that very key, and the segment of that user does not
 * deny it. Caller has made sure that the server is root's.
 */
export function isFromAdmin({ key }: Pick<IncomingMessage, "key">, holder: AdminHolder | null): boolean {
  const own = key.toString("base64");
  if (holder === null || holder.key !== own) return false;
  return keysOfUser(holder.uid)?.has(own) ?? true;
}

export interface WallParts {
  /** The sender's: it gets no copy. */
  readonly name: string;
  readonly everybody: readonly Pick<DirectoryEntry, "name">[];
  /** Rejects for a recipient that did not get it. */
  readonly send: (message: { readonly id: string; readonly to: string; readonly wall: true }) => Promise<unknown>;
}

/** One message for each, all with one id; a stopped or lost recipient delays no other. @returns how many have it */
export async function sendWall({ name, everybody, send }: WallParts): Promise<WallResult> {
  const id = randomUUID();
  const own = foldName(name);
  const names = everybody.map((entry) => entry.name).filter((to) => foldName(to) !== own);
  let reached = 0;
  const queue = names.values();
  const worker = async (): Promise<void> => {
    for (const to of queue) {
      await send({ id, to, wall: true }).then(
        () => reached++,
        () => {},
      );
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return { id, reached, of: names.length };
}
