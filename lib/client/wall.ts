// Messages to everybody who is on, of an administrator: whom they reach, and whose are believed to be such.
import { randomUUID } from "node:crypto";
import { withoutZone } from "../base/endpoint.ts";
import { foldName } from "../base/names.ts";
import type { DirectoryEntry } from "../directory/entry.ts";
import type { IncomingMessage } from "../peer/types.ts";
import { listLocal } from "../presence/local-list.ts";
import type { WallResult } from "./types.ts";

/** Messages under way at once. */
const AT_ONCE = 64;
const ROOT = 0;

/**
 * Whether a wall is root's. The kernel says so of this machine: a live process of uid 0 has entered that name and that address into the
 * local table, and the sender's session is with that address, from which it has answered. What a server says counts for nothing here.
 */
export function isFromRoot({ from, address }: Pick<IncomingMessage, "from" | "address">): boolean {
  const sender = foldName(from);
  return listLocal().some(
    (entry) =>
      entry.uid === ROOT &&
      foldName(entry.name) === sender &&
      entry.port === address.port &&
      withoutZone(entry.address) === withoutZone(address.address),
  );
}

export interface WallParts {
  /** The sender's: it gets no copy. */
  readonly name: string;
  readonly everybody: readonly Pick<DirectoryEntry, "name">[];
  /** Rejects for one who did not get it. */
  readonly send: (message: { readonly id: string; readonly to: string; readonly wall: true }) => Promise<unknown>;
}

/** One message for each, all with one id; a stopped or lost one delays nobody else. @returns how many have it */
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
