// What a signature on a connection has to cover: the nonces of both sides, the server's key, and the channel itself.
import { isLoopback } from "../base/server-address.ts";
import { type ConnectionStatement, LOCAL_BINDING } from "../crypto/signed-statements.ts";
import { CommandError } from "../wire/commands.ts";
import type { Connection } from "./connection.ts";
import type { WorkerContext } from "./worker-context.ts";

/**
 * The statement of the connection's last HELLO, which is good for one signature, whatever comes of it.
 * @throws CommandError NOAUTH without a HELLO, or where nothing ties a signature to the connection
 */
export function takeStatement(context: WorkerContext, connection: Connection): ConnectionStatement {
  const { nonces, binding, address } = connection;
  if (nonces === null) throw new CommandError("NOAUTH say HELLO first: its nonce is signed, once");
  connection.nonces = null;
  const { insecure, serverKey } = context.config;
  if (binding === null) {
    throw new CommandError("NOAUTH nothing ties a signature to this connection before TLS 1.3: connect with TLS 1.3");
  }
  if (binding === LOCAL_BINDING && !isLoopback(address) && !insecure) {
    throw new CommandError("NOAUTH nothing ties a signature from another host to a plain connection: connect with TLS");
  }
  return { serverNonce: nonces.server, clientNonce: nonces.client, serverKey, binding };
}
