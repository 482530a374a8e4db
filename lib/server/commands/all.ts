// ALL: all clients, or a page of them. Other connections get their turn every few hundred rows.
import { setImmediate as nextTurn } from "node:timers/promises";
import { writeEntry } from "../../directory/entry-wire.ts";
import { CommandError, parseAll } from "../../wire/commands.ts";
import { type Protocol, ReplyWriter } from "../../wire/resp-writer.ts";
import type { Connection } from "../connection.ts";
import type { Handler } from "../handler.ts";
import { FLUSH_BYTES, MAX_UNPAGED, ROWS_PER_TURN } from "../limits.ts";
import type { WorkerContext } from "../worker-context.ts";

export const all: Handler = (context, connection, args) => {
  const { cursor, count } = parseAll(args);
  if (cursor === null) return unpaged(context, connection);
  return onePage(context, connection, cursor, count);
};

async function onePage(context: WorkerContext, connection: Connection, cursor: number, count: number): Promise<void> {
  const page = await context.directory.page(cursor, count);
  connection.write((out) => {
    out.array(2);
    out.bulk(String(page.cursor));
    const listed = page.rows.filter(({ entry }) => entry.listed);
    out.array(listed.length);
    for (const { entry } of listed) writeEntry(out, entry, connection.protocol);
  });
}

/** The reply begins with how many there are, so all are written down before the first leaves. */
async function unpaged(context: WorkerContext, connection: Connection): Promise<void> {
  if (context.directory.count > MAX_UNPAGED) {
    throw new CommandError(`ERR more than ${MAX_UNPAGED} clients are on: ask for pages with ALL CURSOR 0`);
  }
  const { count, chunks } = await context.alls.run(() => writeDown(context, connection));
  connection.write((out) => out.array(count));
  await context.longReplies.send(connection, chunks);
}

async function writeDown(context: WorkerContext, connection: Connection): Promise<{ count: number; chunks: Buffer[] }> {
  const protocol: Protocol = connection.protocol;
  const chunks: Buffer[] = [];
  const out = new ReplyWriter();
  let count = 0;
  let cursor = 0;
  do {
    const page = await context.directory.page(cursor, ROWS_PER_TURN);
    for (const { entry } of page.rows) {
      if (!entry.listed) continue;
      writeEntry(out, entry, protocol);
      count++;
    }
    cursor = page.cursor;
    if (out.length > FLUSH_BYTES / 4 || cursor === 0) {
      chunks.push(Buffer.from(out.bytes()));
      out.clear();
    }
    await nextTurn();
  } while (cursor !== 0 && !connection.gone);
  return { count, chunks };
}
