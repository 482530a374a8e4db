// Whatever goes wrong in a request is an answer to it, and no more.
import { afterAll, expect, it } from "vitest";
import { ClientTable } from "../../lib/directory/shm/client-table.ts";
import { LookupReplyCache } from "../../lib/directory/shm/lookup-reply-cache.ts";
import type { Connection } from "../../lib/server/connection.ts";
import { dispatch } from "../../lib/server/dispatch.ts";
import { silentLog } from "../../lib/server/log.ts";
import type { WorkerContext } from "../../lib/server/worker-context.ts";
import { encodeCommand } from "../../lib/wire/resp-command.ts";
import { RequestParser } from "../../lib/wire/resp-request.ts";
import { ReplyWriter } from "../../lib/wire/resp-writer.ts";
import { ObjectNames } from "../helpers/object-names.ts";

const names = new ObjectNames("dispatch");
afterAll(() => names.sweep());

it("a table that cannot be read is an error reply to a LOOKUP", () => {
  const table = ClientTable.create(names.fresh(), { capacity: 4 });
  const refusals: string[] = [];
  const service = {
    requests: 0,
    table,
    answers: new LookupReplyCache(table),
    log: silentLog,
    refused: (reason: string) => refusals.push(reason),
  } as unknown as WorkerContext;
  const connection = { client: null, protocol: 2 } as Connection;
  table.unlink();
  table.close();
  const out = new ReplyWriter();
  const request = new RequestParser();
  request.open(null, encodeCommand(["LOOKUP", "bob"]));
  expect(request.next()).toBe(true);
  expect(dispatch(service, connection, request, out)).toBeUndefined();
  expect(out.bytes().toString()).toBe("-ERR internal error\r\n");
  expect(refusals).toEqual(["internal"]);
});
