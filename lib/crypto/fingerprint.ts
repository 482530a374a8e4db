import { createHash } from "node:crypto";

/**
 * How people compare keys and certificates: "SHA256:" and the unpadded base64 of SHA-256 over the 32 bytes of the Ed25519 public
 * key, or the DER of the certificate; the notation of ssh-keygen -l (OpenSSH hashes its own key blob, so the two never show the
 * same value for one key).
 */
export function fingerprint(bytes: Uint8Array): string {
  const digest = createHash("sha256").update(bytes).digest("base64");
  return `SHA256:${digest.replace(/=+$/, "")}`;
}
