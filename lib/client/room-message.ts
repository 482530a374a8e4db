// One message to a room: to each of the others that are in it, sealed for each alone. What becomes of it at one of them is nothing to the rest.
// Knows no connections: it is given the members and what sends to one of them.
import { TalkError } from "../base/errors.ts";
import type { DirectoryEntry } from "../directory/entry.ts";
import { failedCode, isUnconfirmed } from "./outbound.ts";
import type { RoomResult } from "./types.ts";

/** The most recipients of one message; a larger room is for a list, or a file that people fetch. */
const MAX_ROOM_RECIPIENTS = 128;

export interface RoomMessageParts {
  readonly id: string;
  readonly room: string;
  /** The others, as the room's pushes, or MEMBERS, have shown them. */
  readonly members: readonly DirectoryEntry[];
  /** Whether the key of that one was met before. */
  readonly isKnown: (member: DirectoryEntry) => boolean;
  /** Rejects as OutboundMessages.send(). */
  readonly send: (name: string) => Promise<unknown>;
}

/** @throws TalkError no-such-user for an empty room, too-many for one that is too large */
export function checkRoom(room: string, members: readonly DirectoryEntry[]): void {
  if (members.length === 0) throw new TalkError("no-such-user", `nobody else is in ${room}`);
  if (members.length <= MAX_ROOM_RECIPIENTS) return;
  throw new TalkError("too-many", `${members.length} are in ${room}; a message goes to at most ${MAX_ROOM_RECIPIENTS}`);
}

/** Caller has checked the room. */
export async function sendToRoom({ id, room, members, isKnown, send }: RoomMessageParts): Promise<RoomResult> {
  const strangers = new Set(members.filter((member) => !isKnown(member)).map(({ name }) => name));
  const outcomes = await Promise.allSettled(members.map(({ name }) => send(name)));
  const [to, declined, failed]: [string[], string[], { to: string; code: RoomResult["failed"][number]["code"] }[]] = [
    [],
    [],
    [],
  ];
  for (const [index, { name }] of members.entries()) {
    const outcome = outcomes[index];
    const code = outcome?.status === "rejected" ? codeOf(outcome.reason) : null;
    if (code === null) to.push(name);
    else if (code === "declined") declined.push(name);
    else failed.push({ to: name, code });
  }
  const newKeys = to.filter((name) => strangers.has(name));
  return { id, room, delivered: to.length, of: members.length, to, declined, failed, newKeys };
}

function codeOf(error: unknown): RoomResult["failed"][number]["code"] {
  return isUnconfirmed(error) ? "unconfirmed" : failedCode(error);
}
