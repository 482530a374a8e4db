// The way to the lookup server: a Unix socket or a TCP socket of this machine, or TLS with a pinned certificate.
// Knows nothing of what is said on it.
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import { TalkError } from "../base/errors.ts";
import { seconds } from "../base/seconds.ts";
import { formatServerAddress, isLoopback, type ServerAddress } from "../base/server-address.ts";
import { abstractPath } from "../base/socket-path.ts";

const CONNECT_LIMIT_MS = 5_000;

export interface DialOptions {
  readonly address: ServerAddress;
  /** A Unix socket of that server: its path, or "@name" in the abstract namespace. Dialled instead of the address. */
  readonly socket?: string | undefined;
  /** Plain TCP to a server that is not on loopback. */
  readonly insecure?: boolean;
  /** Path of the certificates (PEM) of authorities: one of them must have issued the server's, for its name. Then any of theirs will do. */
  readonly ca?: string | undefined;
  /** Without `ca`: called with the server's certificate (DER) before anything is sent; throws to refuse it. */
  readonly checkCertificate?: (certificate: Buffer) => void;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** @throws TalkError unreachable, refused (certificate); the signal's reason */
export async function dialServer(options: DialOptions): Promise<Socket> {
  const { address, socket: path, insecure = false, timeoutMs = CONNECT_LIMIT_MS, signal } = options;
  signal?.throwIfAborted();
  const server = path ?? formatServerAddress(address);
  const secure = path === undefined && !insecure && !isLoopback(address.host);
  // TLS costs a module and a handshake: only servers that are not on this machine need it.
  const socket = secure
    ? (await import("node:tls")).connect(tlsOptions(address, options.ca))
    : connect(path === undefined ? address : { path: path.startsWith("@") ? abstractPath(path) : path });
  await new Promise<void>((resolve, reject) => {
    const fail = (error: unknown): void => {
      socket.destroy();
      reject(error);
    };
    const onAbort = (): void => fail(signal?.reason);
    const timer = setTimeout(
      () => fail(TalkError.unreachable(server, `no answer within ${seconds(timeoutMs)}`)),
      timeoutMs,
    );
    signal?.addEventListener("abort", onAbort, { once: true });
    socket.once("error", (error) => fail(connectError(server, error)));
    socket.once(secure ? "secureConnect" : "connect", resolve);
    socket.once("close", () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      reject(TalkError.unreachable(server, "it closed the connection"));
    });
    socket.once(secure ? "secureConnect" : "connect", () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    });
  });
  socket.removeAllListeners("error").removeAllListeners("close");
  try {
    if (secure && options.ca !== undefined) checkIssuer(socket as TLSSocket, server, options.ca);
    else if (secure) options.checkCertificate?.(certificateOf(socket));
  } catch (error) {
    socket.destroy();
    throw error;
  }
  return socket;
}

// Without an authority the certificate is pinned on first use, as a host key is (RFC 4251 section 4.1). With one, checkIssuer() has the last word.
function tlsOptions({ host, port }: ServerAddress, ca: string | undefined): ConnectionOptions {
  const authorities = ca === undefined ? {} : { ca: readAuthorities(ca) };
  return { host, port, rejectUnauthorized: false, minVersion: "TLSv1.3", ...authorities };
}

/** @throws TalkError bad-config */
function readAuthorities(path: string): string {
  let pem: string;
  try {
    pem = readFileSync(path, "utf8");
  } catch (error) {
    throw TalkError.badConfig("ca", `${path} cannot be read: ${error instanceof Error ? error.message : error}`, error);
  }
  if (pem.includes("-----BEGIN CERTIFICATE-----")) return pem;
  throw TalkError.badConfig("ca", `${path} holds no certificate in PEM`);
}

/** @throws TalkError refused */
function checkIssuer({ authorized, authorizationError }: TLSSocket, server: string, ca: string): void {
  if (authorized) return;
  const reason = authorizationError instanceof Error ? authorizationError.message : String(authorizationError);
  const message = `the certificate of ${server} is not one of the authorities in ${ca}: ${reason}`;
  throw new TalkError("refused", message, { remedy: "check-authority", subject: server });
}

function certificateOf(socket: Socket): Buffer {
  const peer = "getPeerX509Certificate" in socket ? (socket as TLSSocket).getPeerX509Certificate() : undefined;
  if (peer === undefined) throw TalkError.refused("the server showed no certificate");
  return peer.raw;
}

function connectError(server: string, error: NodeJS.ErrnoException): TalkError {
  switch (error.code) {
    case "ECONNREFUSED":
      return TalkError.unreachable(server, "nothing listens there", error, "start-server");
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return TalkError.unreachable(server, "the host's name is not known", error);
    case "ENETUNREACH":
    case "EHOSTUNREACH":
      return TalkError.unreachable(server, "there is no way to that network from here", error);
    case "ERR_SSL_WRONG_VERSION_NUMBER":
    case "ERR_SSL_PACKET_LENGTH_TOO_LONG":
    case "ERR_SSL_HTTP_REQUEST":
      return TalkError.unreachable(server, "it does not speak TLS", error, "plain-server");
    default:
      return TalkError.unreachable(server, error.message, error);
  }
}
