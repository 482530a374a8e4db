// Reading the directory, and being told about it.

import { writeClientEntry } from "../../directory/entry-wire.ts";
import { CommandError } from "../../wire/commands.ts";
import type { Handler } from "../dispatch.ts";

export const lookup: Handler = (service, connection, [name], out) => {
  service.noteLookup(connection);
  const found = service.table.find(name as string);
  if (found === null) out.null(connection.protocol);
  else writeClientEntry(out, found.record, connection.protocol);
  return undefined;
};

export const count: Handler = (service, _connection, _args, out) => {
  out.integer(service.table.count);
  return undefined;
};

export const watch: Handler = (service, connection, _args, out) => {
  if (connection.protocol !== 3) throw new CommandError("ERR WATCH sends pushes: say HELLO 3 first");
  service.announcer.watch(connection);
  out.simple("OK");
  return undefined;
};

export const unwatch: Handler = (service, connection, _args, out) => {
  service.announcer.unwatch(connection);
  out.simple("OK");
  return undefined;
};

export const call: Handler = (service, connection, [name], out) => {
  const caller = service.own(connection);
  if (caller === null) throw new CommandError("NOAUTH only a registered client may call");
  service.noteLookup(connection);
  const callee = service.table.find(name as string);
  // The record of a worker that died waits for its client, which is not there to be told.
  if (callee === null || !service.owners.has(callee.record.owner)) {
    out.null(connection.protocol);
    return undefined;
  }
  const { owner, connection: number, name: found } = callee.record;
  return service
    .send({ type: "call", to: { owner, connection: number, name: found }, from: caller.record })
    .then(() => connection.write((later) => later.simple("OK")));
};
