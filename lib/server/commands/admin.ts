// ADMIN: an administrator's request. The primary judges the asker and reaches the other workers (administration.ts); this file reads the request
// and writes the answer.
import { foldName } from "../../base/names.ts";
import { checkedName } from "../../directory/claim-rules.ts";
import { type AdminRequest, parseAdmin } from "../../wire/admin.ts";
import { CommandError } from "../../wire/commands.ts";
import { type Protocol, ReplyWriter } from "../../wire/resp-writer.ts";
import type { Connection } from "../connection.ts";
import type { Handler } from "../handler.ts";
import { FLUSH_BYTES } from "../limits.ts";
import type { AdminAnswer, ClientRow } from "../messages.ts";
import type { WorkerContext } from "../worker-context.ts";

export const admin: Handler = async (context, connection, args) => {
  const request = folded(parseAdmin(args));
  const answer = await context.askAdmin({ uid: connection.origin.uid, connection: connection.id, request });
  if (answer.is === "refused") throw new CommandError(answer.line);
  if (answer.is === "clients") return sendRows(context, connection, answer.rows);
  if (answer.is === "bans") return sendBans(connection, answer);
  let { count } = answer;
  if (request.op === "free" && (await context.directory.release(request.name)) && count === 0) count = 1;
  connection.write((out) => out.integer(count));
};

function folded(request: AdminRequest): AdminRequest {
  return "name" in request ? { ...request, name: foldName(checkedName(request.name)) } : request;
}

async function sendRows(context: WorkerContext, connection: Connection, rows: readonly ClientRow[]): Promise<void> {
  const { protocol } = connection;
  connection.write((out) => out.array(rows.length));
  const chunks: Buffer[] = [];
  const out = new ReplyWriter();
  for (const [index, row] of rows.entries()) {
    writeRow(out, row, protocol);
    if (out.length < FLUSH_BYTES / 4 && index < rows.length - 1) continue;
    chunks.push(Buffer.from(out.bytes()));
    out.clear();
  }
  await context.longReplies.send(connection, chunks);
}

function writeRow(out: ReplyWriter, row: ClientRow, protocol: Protocol): void {
  out.map(8, protocol);
  const text = (field: string, value: string | null): void => {
    out.bulk(field);
    if (value === null) out.null(protocol);
    else out.bulk(value);
  };
  text("name", row.name);
  text("user", row.user);
  out.bulk("uid");
  if (row.uid === null) out.null(protocol);
  else out.integer(row.uid);
  text("address", row.address);
  text("transport", row.transport);
  text("fingerprint", row.fingerprint);
  out.bulk("since");
  out.integer(row.since);
  out.bulk("worker");
  out.integer(row.worker);
}

function sendBans(connection: Connection, { bans }: Extract<AdminAnswer, { is: "bans" }>): void {
  connection.write((out) => {
    out.array(bans.length);
    for (const { target, until, by } of bans) {
      out.map(3, connection.protocol);
      out.bulk("target");
      out.bulk(target);
      out.bulk("until");
      out.integer(until);
      out.bulk("by");
      out.bulk(by);
    }
  });
}
