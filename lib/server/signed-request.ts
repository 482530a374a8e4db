// What a signature on a connection has to cover: the nonces of both sides, the server's key, and the channel itself.
import { isLoopback } from "../base/server-address.ts";
import { type ConnectionStatement, LOCAL_BINDING } from "../crypto/signed-statements.ts";
import { CommandError } from "../wire/commands.ts";
import type { Connection } from "./connection.ts";
import type { WorkerContext } from "./worker-context.ts";

/**
 * The statement of the connection's last HELLO, which is good for one signature, whatever comes of it.
 * @throws CommandError NOAUTH without a HELLO, or on a plain connection from another host
 */
export function takeStatement(context: WorkerContext, connection: Connection): ConnectionStatement {
  const { nonces, binding, address } = connection;
  if (nonces === null) throw new CommandError("NOAUTH say HELLO first: its nonce is signed, once");
  connection.nonces = null;
  const { insecure, serverKey } = context.config;
  if (binding === LOCAL_BINDING && !isLoopback(address) && !insecure) {
    throw new CommandError("NOAUTH a registration from another host needs TLS: nothing binds it to this connection");
  }
  return { serverNonce: nonces.server, clientNonce: nonces.client, serverKey, binding };
}
