// Commands about the connection itself, and what client libraries send unasked. They follow Redis to the letter where
// a library looks at the answer.

import { isLoopback } from "../../base/server-address.ts";
import {
  channelBytes,
  decodeBase64,
  greetingBytes,
  LOCAL_BINDING,
  NONCE_BYTES,
} from "../../crypto/signed-statements.ts";
import { COMMANDS, CommandError, type CommandName } from "../../wire/commands.ts";
import type { Handler } from "../handler.ts";
import { observationToken } from "../observation-token.ts";

export const hello: Handler = (context, connection, args, out) => {
  const [version, ...options] = args;
  if (version !== undefined && version !== "2" && version !== "3") {
    throw new CommandError("NOPROTO unsupported protocol version");
  }
  let clientNonce = "";
  let clientName = connection.clientName;
  for (let i = 0; i < options.length; i += 2) {
    const option = (options[i] as string).toUpperCase();
    const value = options[i + 1];
    if (option === "AUTH") throw new CommandError("ERR there are no passwords here: keys sign registrations");
    if (value === undefined) throw CommandError.syntax(HELLO_FORM);
    if (option === "SETNAME") clientName = value;
    else if (option === "NONCE" && decodeBase64(value, NONCE_BYTES) !== null) clientNonce = value;
    else throw CommandError.syntax(HELLO_FORM);
  }
  connection.clientName = clientName;
  if (version !== undefined) connection.protocol = version === "3" ? 3 : 2;
  if (connection.protocol === 2) context.announcer.unwatch(connection); // RESP2 has no pushes
  const serverNonce = context.newNonce();
  connection.nonces = { server: serverNonce, client: clientNonce };
  const { serverKey, directoryId, startedAt, scope, abstractName, port, munge } = context.config;
  const { serverUser, version: serverVersion } = context.config;
  const { address, uid } = connection.origin;
  const tellsToken = clientNonce !== "" && address !== null && !isLoopback(address);
  const place = { worker: context.config.id, connection: connection.id };
  const tellsSocket = address !== null && isLoopback(address);
  const binding = clientNonce === "" ? LOCAL_BINDING : connection.binding;
  const isBound = binding !== null && binding !== LOCAL_BINDING;
  const signed = clientNonce === "" ? 0 : isBound ? 2 : 1;
  const takesMunge = munge && address !== null;
  const optional = (address === null ? 1 : 0) + (tellsSocket ? 2 : 0) + (takesMunge ? 1 : 0) + (tellsToken ? 1 : 0);
  out.map(15 + optional + signed, connection.protocol);
  out.bulk("server");
  out.bulk("ptalk");
  out.bulk("version");
  out.bulk(serverVersion);
  out.bulk("proto");
  out.integer(connection.protocol);
  out.bulk("id");
  out.integer(connection.id);
  out.bulk("mode");
  out.bulk("standalone");
  out.bulk("role");
  out.bulk("master");
  out.bulk("nonce");
  out.bulk(serverNonce);
  out.bulk("serverkey");
  out.bulk(serverKey);
  out.bulk("address");
  if (address === null) out.null(connection.protocol);
  else out.bulk(address);
  // Milliseconds: a client of a young server knows that others may still be on their way back to it.
  out.bulk("uptime");
  out.integer(Math.max(0, Date.now() - startedAt));
  // A client beside a server that other hosts can reach must be reachable for their clients, too.
  out.bulk("scope");
  out.bulk(scope);
  if (tellsToken) {
    out.bulk("token");
    out.bulk(observationToken(Buffer.from(context.config.tokenSecret, "base64"), place).toString("base64"));
  }
  // Whether datagrams are passed on between clients that no direct path connects.
  out.bulk("relay");
  out.integer(context.relays === null ? 0 : 1);
  out.bulk("uid");
  out.integer(process.geteuid?.() ?? 0);
  out.bulk("user");
  if (serverUser === null) out.null(connection.protocol);
  else out.bulk(serverUser);
  if (address === null) {
    out.bulk("peeruid");
    if (uid === null) out.null(connection.protocol);
    else out.integer(uid);
  }
  if (tellsSocket) {
    out.bulk("unix");
    out.bulk(abstractName);
    out.bulk("port");
    out.integer(port);
  }
  out.bulk("directory");
  out.bulk(directoryId);
  // A credential is for this uid to read.
  if (takesMunge) {
    out.bulk("munge");
    out.integer(process.geteuid?.() ?? 0);
  }
  if (isBound) {
    out.bulk("channel");
    out.bulk(context.sign(channelBytes({ serverNonce, clientNonce, binding })).toString("base64"));
  }
  if (clientNonce !== "") {
    out.bulk("signature");
    const channel = binding === LOCAL_BINDING ? "plain" : "tls";
    const said = { serverNonce, clientNonce, serverKey, directory: directoryId, channel } as const;
    out.bulk(context.sign(greetingBytes(said)).toString("base64"));
  }
  return undefined;
};

const HELLO_FORM = "HELLO [2|3] [SETNAME name] [NONCE base64 of 32 bytes]";

export const ping: Handler = (_context, _connection, args, out, request) => {
  if (args.length === 0) out.simple("PONG");
  else out.bulkBytes(request.argument(1));
  return undefined;
};

export const echo: Handler = (_context, _connection, _args, out, request) => {
  out.bulkBytes(request.argument(1));
  return undefined;
};

export const quit: Handler = (_context, connection, _args, out) => {
  out.simple("OK");
  connection.quitting = true;
  return undefined;
};

export const select: Handler = (_context, _connection, [database], out) => {
  if (database !== "0") throw new CommandError("ERR DB index is out of range");
  out.simple("OK");
  return undefined;
};

export const client: Handler = (_context, connection, [subcommand, ...args], out) => {
  switch ((subcommand as string).toUpperCase()) {
    case "SETNAME":
      connection.clientName = args[0] ?? "";
      out.simple("OK");
      break;
    case "SETINFO":
    case "NO-EVICT":
    case "NO-TOUCH":
      out.simple("OK");
      break;
    case "GETNAME":
      if (connection.clientName === "") out.null(connection.protocol);
      else out.bulk(connection.clientName);
      break;
    case "ID":
      out.integer(connection.id);
      break;
    default:
      throw new CommandError("ERR CLIENT has SETNAME, GETNAME, SETINFO and ID");
  }
  return undefined;
};

export const config: Handler = (_context, connection, [subcommand, name], out) => {
  if ((subcommand as string).toUpperCase() !== "GET" || name === undefined) {
    throw new CommandError("ERR CONFIG has only GET, and nothing to get");
  }
  // redis-benchmark asks for `save` and `appendonly` and wants to be told something.
  out.map(1, connection.protocol);
  out.bulk(name);
  out.bulk("");
  return undefined;
};

export const command: Handler = (_context, connection, [subcommand, ...names], out) => {
  const known = Object.keys(COMMANDS) as CommandName[];
  const wanted = names.length === 0 ? known : names.map((name) => name.toUpperCase() as CommandName);
  switch ((subcommand ?? "INFO").toUpperCase()) {
    case "COUNT":
      out.integer(known.length);
      break;
    case "LIST":
      out.array(known.length);
      for (const name of known) out.bulk(name.toLowerCase());
      break;
    case "DOCS": {
      const documented = wanted.filter((name) => Object.hasOwn(COMMANDS, name));
      out.map(documented.length, connection.protocol);
      for (const name of documented) {
        out.bulk(name.toLowerCase());
        out.map(2, connection.protocol);
        out.bulk("summary");
        out.bulk(COMMANDS[name].summary);
        out.bulk("group");
        out.bulk("ptalk");
      }
      break;
    }
    case "INFO":
      out.array(wanted.length);
      for (const name of wanted) {
        if (!Object.hasOwn(COMMANDS, name)) {
          out.null(connection.protocol);
          continue;
        }
        // name, arity, flags, first key, last key, step: there are no keys
        const { min, max } = COMMANDS[name];
        out.array(6);
        out.bulk(name.toLowerCase());
        out.integer(min === max ? min : -min);
        out.array(0);
        out.integer(0);
        out.integer(0);
        out.integer(0);
      }
      break;
    default:
      throw new CommandError("ERR COMMAND has INFO, COUNT, LIST and DOCS");
  }
  return undefined;
};
