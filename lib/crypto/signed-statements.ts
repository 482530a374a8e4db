// What the two ends of a connection to the lookup server sign. The server signs the client's nonce, so that a recorded greeting
// cannot be replayed. The client signs, to register or claim a name, that the holder of the key wants this name with these
// endpoints and options, at this server, on this very connection: the signature is void at any other. Ed25519 (RFC 8032) over a
// text with one field a line; no field contains a line feed.
import { createHash } from "node:crypto";
import sodium from "sodium-universal";
import type { ClientEndpoint } from "../base/endpoint.ts";

/** What a connection contributes to every statement that is made on it. */
export interface ConnectionStatement {
  /** base64, from the server's HELLO; used once. */
  readonly serverNonce: string;
  /** base64, from the client's HELLO; empty if it sent none. */
  readonly clientNonce: string;
  /** The server's Ed25519 key, base64. */
  readonly serverKey: string;
  /** See {@link tlsBinding} and {@link LOCAL_BINDING}. */
  readonly binding: string;
}

export interface Registration extends ConnectionStatement {
  readonly name: string;
  /** UDP port of the client's chat socket, 1 to 65535; the endpoint's, where the server fills in the address. */
  readonly port: number;
  /** In the order of the request; empty: the address that the server sees, with `port`. */
  readonly endpoints: readonly ClientEndpoint[];
  /** As sent in HOST; empty if it was left out. */
  readonly host: string;
  /** Version of the peer protocol. */
  readonly protocol: number;
  /** As in the request, each with its value, sorted: "PROBE", "REPLACE", "TAKEOVER 0123456789abcdef". */
  readonly options: readonly string[];
}

export interface NameClaim extends ConnectionStatement {
  readonly name: string;
  /** A further key (base64) that the owner of a login name allows it; null: none. */
  readonly also?: string | null | undefined;
}

/**
 * On loopback, on a Unix socket that attests no peer, and where a server is configured to accept plain connections from
 * elsewhere.
 */
export const LOCAL_BINDING = "local";

/**
 * On a Unix socket: the client signs its uid as well. A relay connects under another one, so nothing that is signed through it counts
 * for the relay's user.
 */
export function uidBinding(uid: number): string {
  return `${LOCAL_BINDING} ${uid}`;
}

/** Label of RFC 9266's channel binding for TLS 1.3, and the bytes of it. */
export const TLS_EXPORTER_LABEL = "EXPORTER-Channel-Binding";
export const TLS_EXPORTER_BYTES = 32;

/** @param exported what the TLS connection exports under {@link TLS_EXPORTER_LABEL}: the same at both ends, and at no other */
export function tlsBinding(exported: Uint8Array): string {
  return `tls-exporter ${Buffer.from(exported).toString("base64")}`;
}

/** Bytes of an Ed25519 public key, of a signature (RFC 8032, section 5.1), and of a nonce. */
export const KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;
export const NONCE_BYTES = 32;
/** Characters of the server's nonce that name a registration: its claim id. 96 random bits. */
export const CLAIM_ID_LENGTH = 16;

/** Names the registration that was signed with this nonce. */
export function claimIdOf(serverNonce: string): string {
  return serverNonce.slice(0, CLAIM_ID_LENGTH);
}

/** How the server sees a connection, and says it in its greeting. */
export type Channel = "tls" | "plain";

/** What the server says of itself in its answer to a HELLO with a nonce. */
export interface Greeting extends Omit<ConnectionStatement, "binding"> {
  /** Id of its directory, see directory/directory-id.ts. */
  readonly directory: string;
  readonly channel: Channel;
}

/** The bytes that the server signs in that answer. */
export function greetingBytes({ serverNonce, clientNonce, serverKey, directory, channel }: Greeting): Buffer {
  return statement("ptalk-hello-v3", [clientNonce, serverNonce, serverKey, directory, channel]);
}

/** The bytes that it signs besides on TLS 1.3: a program in between can pass on the greeting, but not this. */
export function channelBytes({ serverNonce, clientNonce, binding }: Omit<ConnectionStatement, "serverKey">): Buffer {
  return statement("ptalk-channel-v1", [clientNonce, serverNonce, binding]);
}

/** The bytes that a client signs to register. */
export function registrationBytes(registration: Registration): Buffer {
  const { name, port, endpoints, host, protocol, options } = registration;
  const list = endpoints.map(({ address, port, kind }) => `${kind} ${address} ${port}`).join(",");
  const fields = [name, String(port), list, host, String(protocol), options.join(",")];
  return statement("ptalk-register-v2", [...connectionFields(registration), ...fields]);
}

/** The same for a CLAIM: the name, and the key that is allowed to have it besides. */
export function claimBytes({ name, also, ...claim }: NameClaim): Buffer {
  const option = also === null || also === undefined ? [] : [`ALSO ${also}`];
  return statement("ptalk-claim-v2", [...connectionFields(claim), name, ...option]);
}

/** What a MUNGE credential for a signed request says: what was signed, and the login of its user. */
export function mungePayload(signed: Buffer, login: string): string {
  return `ptalk-munge-v1\n${createHash("sha256").update(signed).digest("base64")}\n${login}\n`;
}

function connectionFields({ serverNonce, clientNonce, serverKey, binding }: ConnectionStatement): string[] {
  return [serverNonce, clientNonce, serverKey, binding];
}

function statement(head: string, fields: readonly string[]): Buffer {
  return Buffer.from(`${[head, ...fields].join("\n")}\n`, "utf8");
}

/**
 * Checks by libsodium: it is loaded anyway for sessions, and node:crypto takes 3 ms to make its first key.
 * @param key base64 of 32 bytes
 * @param signature base64 of 64 bytes
 * @returns whether the key's holder signed these bytes; false for malformed keys and signatures as well
 */
export function isSigned(bytes: Buffer, key: string, signature: string): boolean {
  const keyBytes = decodeBase64(key, KEY_BYTES);
  const signatureBytes = decodeBase64(signature, SIGNATURE_BYTES);
  if (keyBytes === null || signatureBytes === null) return false;
  return sodium.crypto_sign_verify_detached(signatureBytes, bytes, keyBytes);
}

/** Bytes of canonical base64 of exactly `size` bytes (RFC 4648, section 4, padded); null for anything else. */
export function decodeBase64(text: unknown, size: number): Buffer | null {
  if (typeof text !== "string") return null;
  const bytes = Buffer.from(text, "base64");
  // Node skips what is no base64. One spelling per key, or one key could own a name under two.
  return bytes.length === size && bytes.toString("base64") === text ? bytes : null;
}
