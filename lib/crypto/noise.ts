// The handshake: Noise_IK_25519_ChaChaPoly_BLAKE2b (Noise Protocol Framework, revision 34) by noise-handshake. The static
// keys are the X25519 forms of both sides' Ed25519 keys; each side also sends its Ed25519 key's owner proof implicitly:
// only the holder of the seed has the X25519 secret.
import NoiseState from "noise-handshake";
import sodium from "sodium-universal";
import { type Identity, PUBLIC_KEY_BYTES } from "./identity.ts";

/** Bound into every handshake: another protocol's or version's messages never fit. The version is lib/wire/datagram.ts's. */
export const PROLOGUE = Buffer.from("ptalk/2");

/** An X25519 key pair for Noise. */
export interface StaticKeys {
  readonly publicKey: Buffer;
  readonly secretKey: Buffer;
}

export interface HandshakeKeys {
  /** ChaCha20-Poly1305 keys for the two directions, 32 bytes each. */
  readonly send: Buffer;
  readonly receive: Buffer;
}

export function staticKeys(identity: Identity): StaticKeys {
  const secretKey = identity.dhSecret();
  const publicKey = Buffer.alloc(PUBLIC_KEY_BYTES);
  sodium.crypto_scalarmult_base(publicKey, secretKey);
  return { publicKey, secretKey };
}

/** The X25519 form of an Ed25519 public key, or null when it is none that anybody can hold (no point, small order). */
export function toX25519(publicKey: Uint8Array): Buffer | null {
  if (publicKey.length !== PUBLIC_KEY_BYTES) return null;
  const curve = Buffer.alloc(PUBLIC_KEY_BYTES);
  try {
    sodium.crypto_sign_ed25519_pk_to_curve25519(curve, Buffer.from(publicKey));
  } catch {
    return null;
  }
  return curve;
}

/** The caller's side. One `message`, which may be sent any number of times; then finish() with what comes back. */
export class Initiator {
  /** The first handshake message. */
  readonly message: Buffer;
  readonly #state: NoiseState;

  /**
   * @param remote the X25519 key of the one and only peer who can answer
   * @param ephemeral only for test vectors
   */
  constructor(keys: StaticKeys, remote: Buffer, payload: Buffer, ephemeral?: StaticKeys, prologue = PROLOGUE) {
    this.#state = new NoiseState("IK", true, copyKeys(keys));
    this.#state.initialise(prologue, Buffer.from(remote));
    if (ephemeral) this.#state.e = copyKeys(ephemeral);
    this.message = Buffer.from(this.#state.send(payload));
  }

  /** Null when the answer is not the peer's: it may be tried again with another one. */
  finish(answer: Buffer): { payload: Buffer; keys: HandshakeKeys; hash: Buffer } | null {
    const attempt = cloneState(this.#state);
    try {
      // The library wipes parts of what it is given: a copy.
      const payload = attempt.recv(Buffer.from(answer));
      return { payload, ...result(attempt) };
    } catch {
      return null;
    }
  }
}

/** The called side: reads the first message, and answers with the second. Null when it is not for us, or forged. */
export class Responder {
  readonly #state: NoiseState;
  /** The caller's X25519 key, proven once the first sealed datagram of the session arrives (a replay stops before). */
  readonly remote: Buffer;
  readonly payload: Buffer;

  private constructor(state: NoiseState, remote: Buffer, payload: Buffer) {
    this.#state = state;
    this.remote = remote;
    this.payload = payload;
  }

  static read(keys: StaticKeys, message: Buffer, ephemeral?: StaticKeys, prologue = PROLOGUE): Responder | null {
    const state = new NoiseState("IK", false, copyKeys(keys));
    try {
      state.initialise(prologue);
      const payload = state.recv(Buffer.from(message));
      if (ephemeral) state.e = copyKeys(ephemeral);
      return state.rs ? new Responder(state, Buffer.from(state.rs), payload) : null;
    } catch {
      return null;
    }
  }

  /** Once only. */
  answer(payload: Buffer): { message: Buffer; keys: HandshakeKeys; hash: Buffer } {
    const message = Buffer.from(this.#state.send(payload));
    return { message, ...result(this.#state) };
  }
}

function result(state: NoiseState): { keys: HandshakeKeys; hash: Buffer } {
  if (!state.complete || !state.tx || !state.rx || !state.hash) throw new Error("the handshake is not complete");
  return { keys: { send: Buffer.from(state.tx), receive: Buffer.from(state.rx) }, hash: state.hash };
}

// A forged answer must not spoil the state for the true one, and the library changes it while reading.
function cloneState(state: NoiseState): NoiseState {
  const clone: NoiseState = Object.assign(Object.create(Object.getPrototypeOf(state)), state);
  clone.digest = Buffer.from(state.digest);
  clone.chainingKey = Buffer.from(state.chainingKey);
  clone.key = state.key && Buffer.from(state.key);
  clone.e = state.e && copyKeys(state.e);
  clone.handshake = [...state.handshake];
  return clone;
}

function copyKeys(keys: StaticKeys): StaticKeys {
  return { publicKey: Buffer.from(keys.publicKey), secretKey: Buffer.from(keys.secretKey) };
}
