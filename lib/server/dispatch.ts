// From the bytes of a request to the function that answers it.
import { debuglog } from "node:util";
import { COMMANDS, CommandError, type CommandName, printable } from "../wire/commands.ts";
import type { RequestParser } from "../wire/resp-request.ts";
import type { ReplyWriter } from "../wire/resp-writer.ts";
import { all } from "./commands/all.ts";
import { client, command, config, echo, hello, ping, quit, select } from "./commands/connection.ts";
import { call, count, lookup, unwatch, watch } from "./commands/directory.ts";
import { info } from "./commands/info.ts";
import { claim, key } from "./commands/names.ts";
import { register, unregister } from "./commands/register.ts";
import type { Connection } from "./connection.ts";
import type { WorkerContext } from "./worker-context.ts";

/**
 * LookupReplyCache a request: into `out`, or later through connection.write() if it gives a promise.
 * @param args behind the command's name, as text; as they came they are in `request` until the handler returns
 * @throws CommandError with the error reply
 */
export type Handler = (
  service: WorkerContext,
  connection: Connection,
  args: readonly string[],
  out: ReplyWriter,
  request: RequestParser,
) => Promise<void> | undefined;

const HANDLERS: Readonly<Record<CommandName, Handler>> = {
  LOOKUP: lookup,
  ALL: all,
  COUNT: count,
  REGISTER: register,
  UNREGISTER: unregister,
  CLAIM: claim,
  KEY: key,
  CALL: call,
  WATCH: watch,
  UNWATCH: unwatch,
  HELLO: hello,
  PING: ping,
  ECHO: echo,
  QUIT: quit,
  INFO: info,
  COMMAND: command,
  CLIENT: client,
  CONFIG: config,
  SELECT: select,
};

const LOOKUP = Buffer.from("LOOKUP");
const UPPER_CASE = 0xdf; // of an ASCII letter
const debug = debuglog("ptalk-server");

export function dispatch(
  service: WorkerContext,
  connection: Connection,
  request: RequestParser,
  out: ReplyWriter,
): Promise<void> | undefined {
  service.requests++;
  const before = out.length;
  try {
    if (isLookup(request) && lookupReady(service, connection, request, out)) return undefined;
    return dispatchAny(service, connection, request, out);
  } catch (error) {
    out.truncate(before);
    fail(service, error, out);
    return undefined;
  }
}

/** Nearly every request is a LOOKUP, and nearly every LOOKUP has its answer ready: this is the way of those. */
function lookupReady(
  service: WorkerContext,
  connection: Connection,
  request: RequestParser,
  out: ReplyWriter,
): boolean {
  const { answers } = service;
  const { bytes, starts, ends } = request;
  const [start, end] = [starts[1] as number, ends[1] as number];
  if (connection.client !== null) service.noteLookup(connection);
  if (answers.write(bytes, start, end, connection.protocol, out)) return true;
  const found = service.table.find(request.text(1));
  if (found === null) return false;
  answers.keep(bytes, start, end, connection.protocol, found.slot);
  return answers.write(bytes, start, end, connection.protocol, out);
}

/** "LOOKUP name", without making a string of it. */
function isLookup({ bytes, count, starts, ends }: RequestParser): boolean {
  const start = starts[0] as number;
  if (count !== 2 || (ends[0] as number) - start !== LOOKUP.length) return false;
  for (let i = 0; i < LOOKUP.length; i++) if (((bytes[start + i] as number) & UPPER_CASE) !== LOOKUP[i]) return false;
  return true;
}

function dispatchAny(
  service: WorkerContext,
  connection: Connection,
  request: RequestParser,
  out: ReplyWriter,
): Promise<void> | undefined {
  const name = request.text(0).toUpperCase();
  if (!Object.hasOwn(COMMANDS, name)) throw new CommandError(`ERR unknown command ${printable(name)}`);
  const { min, max } = COMMANDS[name as CommandName];
  if (request.count < min || request.count > max) {
    throw new CommandError(`ERR wrong number of arguments for '${name.toLowerCase()}' command`);
  }
  const args: string[] = [];
  for (let i = 1; i < request.count; i++) args.push(request.text(i));
  const pending = HANDLERS[name as CommandName](service, connection, args, out, request);
  return pending?.catch((error) => connection.write((later) => fail(service, error, later)));
}

function fail(service: WorkerContext, error: unknown, out: ReplyWriter): void {
  if (error instanceof CommandError) {
    service.refused(error.line.split(" ", 1)[0] as string);
    out.error(error.line);
    return;
  }
  debug("%o", error);
  // Nothing of an unforeseen error goes over the network: it may say something about this machine.
  service.log.error("request failed", { error });
  service.refused("internal");
  out.error("ERR internal error");
}
