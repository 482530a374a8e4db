// A message that is left with a server that must not read it: sealed for its recipient's key. No one else can read it,
// not even its sender. It proves its sender's key to the recipient, as Noise X does: the first message of Noise IK is
// that of X under another name, and its payload has the key that the body is sealed with (a Noise message has 65,535
// bytes at most, a body more).
import { randomBytes } from "node:crypto";
import { type Identity, PUBLIC_KEY_BYTES } from "./identity.ts";
import { Initiator, Responder, staticKeys, toX25519 } from "./noise.ts";
import { open, SEAL_BYTES, seal } from "./seal.ts";

const PROLOGUE = Buffer.from("ptalk/2 mailbox");
const BODY_KEY_BYTES = 32;
/** Ephemeral key, sealed static key, and the sealed payload: both keys and a tag. */
const HEAD_BYTES = 32 + (32 + SEAL_BYTES) + (PUBLIC_KEY_BYTES + BODY_KEY_BYTES + SEAL_BYTES);

/** What sealing adds, in bytes. */
export const SEALED_MESSAGE_BYTES = HEAD_BYTES + SEAL_BYTES;

/** Null when the recipient's key is none that anybody can hold. @param recipient Ed25519 public key */
export function sealFor(recipient: Uint8Array, identity: Identity, body: Buffer): Buffer | null {
  const remote = toX25519(recipient);
  if (remote === null) return null;
  const bodyKey = randomBytes(BODY_KEY_BYTES);
  const payload = Buffer.concat([identity.publicKey, bodyKey]);
  const { message } = new Initiator(staticKeys(identity), remote, payload, undefined, PROLOGUE);
  const sealed = Buffer.alloc(message.length + body.length + SEAL_BYTES);
  message.copy(sealed);
  seal(bodyKey, 0, body, sealed.subarray(message.length));
  return sealed;
}

/** Null when it is not for this identity, or was changed. `key`: the Ed25519 key that its sender has proved to hold. */
export function openSealed(identity: Identity, sealed: Buffer): { readonly key: Buffer; readonly body: Buffer } | null {
  if (sealed.length < SEALED_MESSAGE_BYTES) return null;
  const opened = Responder.read(staticKeys(identity), sealed.subarray(0, HEAD_BYTES), undefined, PROLOGUE);
  if (opened?.payload.length !== PUBLIC_KEY_BYTES + BODY_KEY_BYTES) return null;
  const key = Buffer.from(opened.payload.subarray(0, PUBLIC_KEY_BYTES));
  // The handshake proves the key in its X25519 form.
  if (toX25519(key)?.equals(opened.remote) !== true) return null;
  const body = Buffer.alloc(sealed.length - SEALED_MESSAGE_BYTES);
  const isOpen = open(opened.payload.subarray(PUBLIC_KEY_BYTES), 0, sealed.subarray(HEAD_BYTES), body);
  return isOpen ? { key, body } : null;
}
