// RELAY: passes a datagram of the peer protocol on to another client, for two that no direct path connects. The datagram is sealed:
// this server learns who sends to whom, when and how much.
//   1. The client has proved a key. It sends under the name that it is on under, or, when it is not on, that it has claimed.
//   2. The receiver is a name, or the place of a connection that has only claimed its name, as an earlier push told it.
//   3. The sender's share of the relay decides (relay-meter.ts): now, in a moment, or not.
//   4. The receiver's worker pushes it, with the place that answers go to. A receiver that reads too slowly loses it.
import { isLoopback } from "../../base/server-address.ts";
import { CommandError } from "../../wire/commands.ts";
import { datagramType } from "../../wire/datagram.ts";
import type { Connection } from "../connection.ts";
import type { Handler } from "../handler.ts";
import type { Callee } from "../messages.ts";
import { boundKey } from "../origin.ts";
import type { WorkerContext } from "../worker-context.ts";

export const relay: Handler = (context, connection, [name = ""], out, request) => {
  const { relays } = context;
  if (relays === null) throw new CommandError("NORELAY this server passes no datagrams on");
  const from = placeOf(context, connection);
  if (from === null) throw new CommandError("NOAUTH prove a key first, by CLAIM or REGISTER");
  const datagram = Buffer.from(request.argument(2));
  if (datagramType(datagram) === null) throw new CommandError("ERR RELAY takes a datagram of the peer protocol");
  const answer = (to: Callee | null): "OK" | null => {
    if (to === null) return null;
    const pass = () => context.passOn({ to, from: seenFrom(context, from, connection, to), bytes: datagram });
    if (relays.offer(accountOf(context.config.id, connection), datagram.length, pass)) return "OK";
    throw new CommandError("TOOMANY more than this client's share of the relay");
  };
  const found = callee(context, name);
  if (found instanceof Promise) {
    return found.then((to) => {
      const result = answer(to);
      connection.write((later) => (result === null ? later.null(connection.protocol) : later.simple(result)));
    });
  }
  const result = answer(found);
  if (result === null) out.null(connection.protocol);
  else out.simple(result);
  return undefined;
};

/** The place of a client that is not on: the name that it has claimed, and where its connection is. */
const MAX_PLACE = 256;
const PLACE = /^.+@(\d{1,10})\.(\d{1,15})\.([A-Za-z0-9+/]{16})(?:@(.+))?$/;

/** Null: not here. */
function callee(context: WorkerContext, name: string): Callee | null | Promise<Callee | null> {
  const place = name.length > MAX_PLACE ? null : PLACE.exec(name);
  if (place !== null) {
    const [, worker, connection, claimId = "", server = ""] = place;
    const to = { worker: Number(worker), connection: Number(connection), claimId };
    const { serverName, hasPeers } = context.config;
    if (server !== "" && server !== serverName) return hasPeers ? { ...to, elsewhere: { server, name: "" } } : null;
    return context.isHere(to) ? to : null;
  }
  const found = context.directory.find(name);
  return found instanceof Promise ? found.then((row) => context.calleeOf(row)) : context.calleeOf(found);
}

/** The sender, as the receiver gets it: where answers go. Null: it has proved nothing. */
function placeOf(context: WorkerContext, { id, client, claimed }: Connection): string | null {
  if (client !== null) return client.claim.name;
  if (claimed === null) return null;
  return `${claimed.name}@${context.config.id}.${id}.${claimed.claimId}`;
}

/** Another server finds a place here by this server's name. */
function seenFrom({ config }: WorkerContext, place: string, { client }: Connection, to: Callee): string {
  return client !== null || to.elsewhere === undefined ? place : `${place}@${config.serverName}`;
}

/** All users of a forwarder have its address. */
function accountOf(worker: number, { id, origin }: Connection): string {
  const { address } = origin;
  return address !== null && isLoopback(address) ? `connection ${worker}.${id}` : boundKey(origin);
}
