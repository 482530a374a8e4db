// JOIN, PART and MEMBERS: rooms are fields of the clients' entries. The directory finds the members of one; a room
// without members does not exist. For the clients that may join, and those that get its events, see WATCH
// (directory.ts, announcer.ts).
import { foldRoom, foldRoomIfValid } from "../../base/names.ts";
import { checkedName } from "../../directory/claim-rules.ts";
import type { DirectoryRow } from "../../directory/directory.ts";
import { DirectoryError } from "../../directory/directory-error.ts";
import { MAX_ENTRY_ROOMS } from "../../directory/entry.ts";
import { roomsOf } from "../../directory/entry-index.ts";
import { writeEntry } from "../../directory/entry-wire.ts";
import { CommandError } from "../../wire/commands.ts";
import { ReplyWriter } from "../../wire/resp-writer.ts";
import type { Connection } from "../connection.ts";
import type { Handler } from "../handler.ts";
import { FLUSH_BYTES } from "../limits.ts";
import type { WorkerContext } from "../worker-context.ts";

/** A client that is in the room already stays in it. */
export const join: Handler = async (context, connection, [name]) => {
  const room = readRoom(name as string);
  await change(context, connection, (rooms) => {
    if (rooms.includes(room)) return rooms;
    if (rooms.length >= MAX_ENTRY_ROOMS) {
      throw new DirectoryError("too-many", `a client is in at most ${MAX_ENTRY_ROOMS} rooms: PART from one first`);
    }
    if (!context.rooms.add(connection.origin, 1)) {
      context.rooms.add(connection.origin, -1);
      const { roomsPerAccount } = context.config.limits;
      throw new DirectoryError(
        "too-many",
        `the clients of your user or address are in ${roomsPerAccount} rooms, and may be in no more: PART from some`,
      );
    }
    connection.rooms++;
    return [...rooms, room];
  });
};

/** A client that is not in the room stays out of it. */
export const part: Handler = async (context, connection, [name]) => {
  const room = readRoom(name as string);
  await change(context, connection, (rooms) => {
    if (rooms.includes(room) && connection.rooms > 0) {
      connection.rooms--;
      context.rooms.add(connection.origin, -1);
    }
    return rooms.filter((other) => other !== room);
  });
};

/** For any client: a sender to a room need not be in it. */
export const members: Handler = async (context, connection, [name]) => {
  const rows = await context.directory.members(readRoom(name as string));
  connection.write((out) => out.array(rows.length));
  await context.longReplies.send(connection, writeDown(rows, connection));
};

function writeDown(rows: readonly DirectoryRow[], connection: Connection): Buffer[] {
  const chunks: Buffer[] = [];
  const out = new ReplyWriter();
  for (const [index, { entry }] of rows.entries()) {
    writeEntry(out, entry, connection.protocol);
    if (out.length < FLUSH_BYTES / 4 && index < rows.length - 1) continue;
    chunks.push(Buffer.from(out.bytes()));
    out.clear();
  }
  return chunks;
}

/** @returns the folded name. @throws CommandError BADNAME, DirectoryError `bad-name` that says which rule is broken */
export function readRoom(room: string): string {
  const folded = foldRoomIfValid(room);
  if (folded !== null) return folded;
  if (room[0] !== "#") throw new CommandError('BADNAME a room is a name with "#" before it');
  checkedName(room.slice(1));
  return foldRoom(room);
}

async function change(
  context: WorkerContext,
  connection: Connection,
  changed: (rooms: readonly string[]) => readonly string[],
): Promise<void> {
  const { client } = connection;
  const row = client === null ? null : await context.directory.own(client.claim);
  if (client === null || row === null) throw new CommandError("NOAUTH only a registered client is in rooms");
  const before = roomsOf(row.entry);
  const rooms = changed(before);
  if (rooms.length !== before.length) {
    const claim = await context.directory.update(client.claim, { rooms });
    // The connection may have ended meanwhile: its client has been taken out by the claim's id.
    if (connection.client === client) connection.client = { ...client, claim };
  }
  connection.write((out) => out.simple("OK"));
}
