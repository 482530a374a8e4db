// Reading the directory, and watching it.
import { MAX_ENDPOINTS } from "../../base/endpoint.ts";
import { checkedName } from "../../directory/claim-rules.ts";
import type { DirectoryRow } from "../../directory/directory.ts";
import { writeEntry } from "../../directory/entry-wire.ts";
import { CommandError, parseCall, parseNames } from "../../wire/commands.ts";
import type { Protocol, ReplyWriter } from "../../wire/resp-writer.ts";
import type { Handler } from "../handler.ts";
import { CALLS_OF_CALLER } from "../limits.ts";
import { checkEndpoint } from "./register.ts";
import { readRoom } from "./rooms.ts";

/** For names without a reply that is ready: no client has the name, or the directory has no cache. */
export const lookup: Handler = (context, connection, [name], out) => {
  if (context.directory.replies === null) context.noteLookup(connection); // else dispatch.ts has done so
  const { protocol } = connection;
  const found = context.directory.find(name as string);
  if (found instanceof Promise) return found.then((row) => connection.write((later) => writeRow(later, row, protocol)));
  writeRow(out, found, protocol);
  return undefined;
};

function writeRow(out: ReplyWriter, row: DirectoryRow | null, protocol: Protocol): void {
  if (row === null) out.null(protocol);
  else writeEntry(out, row.entry, protocol);
}

export const count: Handler = (context, _connection, _args, out) => {
  out.integer(context.directory.count);
  return undefined;
};

export const names: Handler = (context, connection, args, out) => {
  const { prefix, count } = parseNames(args);
  const found = context.directory.names(prefix, count);
  if (found instanceof Promise) return found.then((known) => connection.write((later) => writeNames(later, known)));
  writeNames(out, found);
  return undefined;
};

function writeNames(out: ReplyWriter, found: readonly string[]): void {
  out.array(found.length);
  for (const name of found) out.bulk(name);
}

export const watch: Handler = (context, connection, args, out) => {
  if (connection.protocol !== 3) throw new CommandError("ERR WATCH sends pushes: say HELLO 3 first");
  const known = context.announcer.watch(connection, args.map(readInterest));
  if (known !== undefined) return known.then(() => connection.write((later) => later.simple("OK")));
  out.simple("OK");
  return undefined;
};

export const unwatch: Handler = (context, connection, args, out) => {
  context.announcer.unwatch(connection, args.map(readInterest));
  out.simple("OK");
  return undefined;
};

/** @returns a folded name, or a folded room. @throws CommandError, DirectoryError `bad-name` */
function readInterest(text: string): string {
  return text.startsWith("#") ? readRoom(text) : checkedName(text);
}

/**
 * The callee is about to get datagrams from the caller: its NAT or firewall lets them in when it sends something there first. A caller
 * that is not on says itself where it calls from; what the server has seen comes first.
 */
export const call: Handler = async (context, connection, args) => {
  const { name, endpoints } = parseCall(args);
  for (const endpoint of endpoints) checkEndpoint(endpoint);
  const { directory } = context;
  const { client, claimed, observed } = connection;
  if (!connection.callRate.take()) throw new CommandError(`TOOMANY at most ${CALLS_OF_CALLER} calls a second`);
  const caller = client === null ? null : await directory.own(client.claim);
  if (caller === null && claimed === null)
    throw new CommandError("NOAUTH only a client that has proved its name may call");
  context.noteLookup(connection);
  const to = context.calleeOf(await directory.find(name));
  if (to === null) {
    connection.write((out) => out.null(connection.protocol));
    return;
  }
  const from = [...(observed === null ? [] : [observed]), ...endpoints].slice(0, MAX_ENDPOINTS);
  if (caller !== null) await context.send({ type: "call", to, from: caller.entry.packed });
  else if (from.length > 0 && connection.key !== null) {
    await context.send({ type: "knock", to, key: connection.key, from });
  }
  connection.write((out) => out.simple("OK"));
};

/** For clients that know from a push where a peer is: the lookup on the way to a message is then one in their memory. */
export const touch: Handler = (context, connection, _args, out) => {
  if (connection.client === null) throw new CommandError("NOAUTH only a registered client has a lastLookupAt");
  context.noteLookup(connection);
  out.simple("OK");
  return undefined;
};
