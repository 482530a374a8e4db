// What a signature on a connection has to cover: the nonces of both sides, the server's key, and the channel itself.
import { isLoopback } from "../base/server-address.ts";
import { type ConnectionStatement, isSigned, LOCAL_BINDING, uidBinding } from "../crypto/signed-statements.ts";
import type { NameRight } from "../directory/name-right.ts";
import { CommandError } from "../wire/commands.ts";
import { banText } from "./bans.ts";
import type { Connection } from "./connection.ts";
import type { WorkerContext } from "./worker-context.ts";

/** A request whose signature fits. */
export interface SignedRequest {
  /** Of the HELLO that was signed. */
  readonly serverNonce: string;
  /**
   * The uid that the kernel saw connect, and that the holder of the key signed to be its own; null where it is unknown.
   */
  readonly uid: number | null;
  /** The bytes that were signed. */
  readonly signed: Buffer;
}

/** The keys that this one replaces, as the connection has proved. */
export function followedBy({ follows }: Connection, key: string): NameRight["follows"] {
  return follows?.key === key ? follows : undefined;
}

interface Signature {
  readonly key: string;
  readonly signature: string;
  /** The signed bytes, on a channel with this statement. */
  readonly bytes: (statement: ConnectionStatement) => Buffer;
  /** The subject of the request, for the error: "the key, the connection and the request". */
  readonly what: string;
}

/**
 * Checks a signature against the connection's last HELLO, which is good for one, whatever comes of it.
 * @throws CommandError NOAUTH without a HELLO, or where nothing ties a signature to the connection; BADSIG
 */
export function checkSigned(
  context: WorkerContext,
  connection: Connection,
  { key, signature, bytes, what }: Signature,
): SignedRequest {
  const { nonces, binding, address, origin } = connection;
  if (nonces === null) throw new CommandError("NOAUTH say HELLO first: its nonce is signed, once");
  connection.nonces = null;
  const { insecure, serverKey } = context.config;
  if (binding === null) {
    throw new CommandError("NOAUTH nothing ties a signature to this connection before TLS 1.3: connect with TLS 1.3");
  }
  if (binding === LOCAL_BINDING && !isLoopback(address) && !insecure) {
    throw new CommandError("NOAUTH nothing ties a signature from another host to a plain connection: connect with TLS");
  }
  if (context.isDraining) throw new CommandError("TRYAGAIN this server is about to end: come back to the next one");
  const ban = context.bans.ofKey(key);
  if (ban !== null) throw new CommandError(`BANNED ${banText(ban)}`);
  const statement = { serverNonce: nonces.server, clientNonce: nonces.client, serverKey };
  const signedWith = (tied: string): Buffer | null => {
    const signed = bytes({ ...statement, binding: tied });
    return isSigned(signed, key, signature) ? signed : null;
  };
  const { serverNonce } = statement;
  const own = origin.peerUid === null ? null : signedWith(uidBinding(origin.peerUid));
  if (own !== null) return { serverNonce, uid: origin.uid, signed: own };
  const signed = signedWith(binding);
  if (signed !== null) return { serverNonce, uid: null, signed };
  // Before version 2 a request signed less, and no HELLO had a nonce.
  const advice = nonces.client === "" ? " (clients before version 2 sign less: upgrade this one)" : "";
  throw new CommandError(`BADSIG the signature does not fit ${what}${advice}`);
}
