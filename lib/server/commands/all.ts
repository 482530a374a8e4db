// ALL: everyone, or a page. Whatever its size, other connections get their turn every few hundred records.
import { setImmediate as nextTurn } from "node:timers/promises";
import { writeClientEntry } from "../../directory/entry-wire.ts";
import { CommandError, parseAll } from "../../wire/commands.ts";
import { type Protocol, ReplyWriter } from "../../wire/resp-writer.ts";
import type { Connection } from "../connection.ts";
import type { Handler } from "../dispatch.ts";
import { FLUSH_BYTES, MAX_UNPAGED, RECORDS_PER_TURN } from "../limits.ts";
import type { WorkerContext } from "../worker-context.ts";

export const all: Handler = (service, connection, args, out) => {
  const { cursor, count } = parseAll(args);
  if (cursor === null) return everyone(service, connection);
  const page = service.table.page(cursor, count);
  out.array(2);
  out.bulk(String(page.cursor));
  out.array(page.records.length);
  for (const { record } of page.records) writeClientEntry(out, record, connection.protocol);
  return undefined;
};

/** The reply begins with how many there are, so all are written down before the first leaves. */
async function everyone(service: WorkerContext, connection: Connection): Promise<void> {
  if (service.table.count > MAX_UNPAGED) {
    throw new CommandError(`ERR more than ${MAX_UNPAGED} clients are on: ask for pages with ALL CURSOR 0`);
  }
  const { count, chunks } = await service.alls.run(() => writeDown(service, connection));
  connection.write((out) => out.array(count));
  await service.longReplies.send(connection, chunks);
}

async function writeDown(service: WorkerContext, connection: Connection): Promise<{ count: number; chunks: Buffer[] }> {
  const protocol: Protocol = connection.protocol;
  const chunks: Buffer[] = [];
  const out = new ReplyWriter();
  let count = 0;
  let cursor = 0;
  do {
    const page = service.table.page(cursor, RECORDS_PER_TURN);
    for (const { record } of page.records) writeClientEntry(out, record, protocol);
    count += page.records.length;
    cursor = page.cursor;
    if (out.length > FLUSH_BYTES / 4 || cursor === 0) {
      chunks.push(Buffer.from(out.bytes()));
      out.clear();
    }
    await nextTurn();
  } while (cursor !== 0 && !connection.gone);
  return { count, chunks };
}
