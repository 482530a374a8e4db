// The parts that are used here of two libraries that come without types.
declare module "noise-handshake" {
  interface KeyPair {
    publicKey: Buffer;
    secretKey: Buffer;
  }
  export default class NoiseState {
    constructor(pattern: "IK", initiator: boolean, staticKeyPair: KeyPair, options?: object);
    s: KeyPair;
    e: KeyPair | null;
    rs: Buffer | null;
    re: Buffer | null;
    key: Buffer | null;
    nonce: number;
    digest: Buffer;
    chainingKey: Buffer;
    handshake: unknown[];
    complete: boolean;
    tx: Buffer | null;
    rx: Buffer | null;
    hash: Buffer | null;
    initialise(prologue: Buffer, remoteStatic?: Buffer): void;
    send(payload?: Buffer): Buffer;
    recv(message: Buffer): Buffer;
  }
}

declare module "sodium-universal" {
  const sodium: {
    crypto_aead_chacha20poly1305_ietf_encrypt(
      ciphertext: Buffer,
      message: Buffer,
      additional: Buffer | null,
      secretNonce: null,
      nonce: Buffer,
      key: Buffer,
    ): number;
    /** Throws when the tag does not match. */
    crypto_aead_chacha20poly1305_ietf_decrypt(
      message: Buffer,
      secretNonce: null,
      ciphertext: Buffer,
      additional: Buffer | null,
      nonce: Buffer,
      key: Buffer,
    ): number;
    crypto_generichash(output: Buffer, input: Buffer, key?: Buffer): void;
    crypto_scalarmult_base(publicKey: Buffer, secretKey: Buffer): void;
    /** Throws when the key is no point of the curve, of small order, or outside the prime-order group. */
    crypto_sign_ed25519_pk_to_curve25519(curve: Buffer, ed25519: Buffer): void;
    crypto_sign_seed_keypair(publicKey: Buffer, secretKey: Buffer, seed: Buffer): void;
    crypto_sign_verify_detached(signature: Buffer, message: Uint8Array, publicKey: Buffer): boolean;
    crypto_sign_detached(signature: Buffer, message: Uint8Array, secretKey: Buffer): void;
    sodium_memzero(buffer: Buffer): void;
  };
  export default sodium;
}
