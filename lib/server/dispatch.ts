// From the bytes of a request to the function that answers it.
import { debuglog } from "node:util";
import { DirectoryError, type DirectoryErrorCode } from "../directory/directory-error.ts";
import { COMMANDS, CommandError, type CommandName, printable } from "../wire/commands.ts";
import { ProtocolError } from "../wire/protocol-error.ts";
import type { RequestParser } from "../wire/resp-request.ts";
import type { ReplyWriter } from "../wire/resp-writer.ts";
import { admin } from "./commands/admin.ts";
import { all } from "./commands/all.ts";
import { client, command, config, echo, hello, ping, quit, select } from "./commands/connection.ts";
import { call, count, lookup, names, touch, unwatch, watch } from "./commands/directory.ts";
import { info } from "./commands/info.ts";
import { done, leave, take } from "./commands/mailbox.ts";
import { claim, follows, key, owner } from "./commands/names.ts";
import { register, unregister } from "./commands/register.ts";
import { relay } from "./commands/relay.ts";
import { join, members, part } from "./commands/rooms.ts";
import { servers } from "./commands/servers.ts";
import { status } from "./commands/status.ts";
import type { Connection } from "./connection.ts";
import type { Handler } from "./handler.ts";
import type { WorkerContext } from "./worker-context.ts";

const HANDLERS: Readonly<Record<CommandName, Handler>> = {
  LOOKUP: lookup,
  ALL: all,
  COUNT: count,
  REGISTER: register,
  UNREGISTER: unregister,
  CLAIM: claim,
  FOLLOWS: follows,
  KEY: key,
  OWNER: owner,
  CALL: call,
  RELAY: relay,
  TOUCH: touch,
  LEAVE: leave,
  TAKE: take,
  DONE: done,
  NAMES: names,
  JOIN: join,
  PART: part,
  STATUS: status,
  MEMBERS: members,
  WATCH: watch,
  UNWATCH: unwatch,
  HELLO: hello,
  PING: ping,
  ECHO: echo,
  QUIT: quit,
  INFO: info,
  SERVERS: servers,
  ADMIN: admin,
  COMMAND: command,
  CLIENT: client,
  CONFIG: config,
  SELECT: select,
};

/** Commands that show who is on, or whose a name is. */
const READS: ReadonlySet<string> = new Set<CommandName>([
  ...(["LOOKUP", "ALL", "COUNT", "KEY", "OWNER", "NAMES", "WATCH", "MEMBERS"] as const),
]);
const PRIVATE = "NOPERM who is on is told to users of the server's host, and to clients that are on: REGISTER first";

const LOOKUP = Buffer.from("LOOKUP");
const UPPER_CASE = 0xdf; // of an ASCII letter
/** First words of an HTTP request that a web page can make a browser send here, its body full of our commands. */
const HTTP_WORDS = ["POST", "HOST:"];
const debug = debuglog("ptalk-server");

/** @throws ProtocolError when the connection should end */
export function dispatch(
  context: WorkerContext,
  connection: Connection,
  request: RequestParser,
  out: ReplyWriter,
): Promise<void> | undefined {
  context.requests++;
  const before = out.length;
  try {
    if (isLookup(request) && mayRead(context, connection) && lookupReady(context, connection, request, out))
      return undefined;
    return dispatchAny(context, connection, request, out);
  } catch (error) {
    out.truncate(before);
    if (error instanceof ProtocolError) throw error;
    fail(context, error, out);
    return undefined;
  }
}

/** Nearly every request is a LOOKUP, and nearly every LOOKUP has its answer ready: this is the way of those. */
function lookupReady(
  context: WorkerContext,
  connection: Connection,
  request: RequestParser,
  out: ReplyWriter,
): boolean {
  const { replies } = context.directory;
  if (replies === null) return false;
  const { bytes, starts, ends } = request;
  const [start, end] = [starts[1] as number, ends[1] as number];
  if (connection.client !== null) context.noteLookup(connection);
  const { protocol } = connection;
  if (replies.writeIfFresh(bytes, start, end, protocol, out)) return true;
  return replies.store(bytes, start, end, protocol) && replies.writeIfFresh(bytes, start, end, protocol, out);
}

/** "LOOKUP name", without making a string of it. */
function isLookup({ bytes, count, starts, ends }: RequestParser): boolean {
  const start = starts[0] as number;
  if (count !== 2 || (ends[0] as number) - start !== LOOKUP.length) return false;
  for (let i = 0; i < LOOKUP.length; i++) if (((bytes[start + i] as number) & UPPER_CASE) !== LOOKUP[i]) return false;
  return true;
}

function dispatchAny(
  context: WorkerContext,
  connection: Connection,
  request: RequestParser,
  out: ReplyWriter,
): Promise<void> | undefined {
  const name = request.text(0).toUpperCase();
  if (!Object.hasOwn(COMMANDS, name)) {
    if (HTTP_WORDS.includes(name)) throw new ProtocolError("this is no web server");
    throw new CommandError(`ERR unknown command ${printable(name)}`);
  }
  const { min, max } = COMMANDS[name as CommandName];
  if (request.count < min || request.count > max) {
    throw new CommandError(`ERR wrong number of arguments for '${name.toLowerCase()}' command`);
  }
  if (READS.has(name) && !mayRead(context, connection)) throw new CommandError(PRIVATE);
  const args: string[] = [];
  for (let i = 1; i < request.count; i++) args.push(request.text(i));
  const pending = HANDLERS[name as CommandName](context, connection, args, out, request);
  return pending?.catch((error) => connection.write((later) => fail(context, error, later)));
}

/** Of a private server: other hosts read only on a connection that has registered or claimed a name. */
function mayRead({ isPrivate }: WorkerContext, connection: Connection): boolean {
  return !isPrivate || connection.origin.isHere || connection.client !== null || connection.provenName !== null;
}

function fail(context: WorkerContext, error: unknown, out: ReplyWriter): void {
  const line = error instanceof DirectoryError ? refusalLine(error) : error instanceof CommandError ? error.line : null;
  if (line !== null) {
    context.refused(line.split(" ", 1)[0] as string);
    out.error(line);
    return;
  }
  debug("%o", error);
  // Nothing of an unforeseen error goes over the network: it may say something about this machine.
  context.log.error("request failed", { error });
  context.refused("internal");
  out.error("ERR internal error");
}

/** The code words of error replies for what a directory refuses. */
const REFUSAL_WORDS: Readonly<Record<DirectoryErrorCode, string>> = {
  taken: "TAKEN",
  reserved: "RESERVED",
  "too-many": "TOOMANY",
  full: "FULL",
  "try-again": "TRYAGAIN",
  replaced: "REPLACED",
  "bad-name": "BADNAME",
  "bad-entry": "ERR",
};

const refusalLine = ({ code, message }: DirectoryError): string => `${REFUSAL_WORDS[code]} ${message}`;
