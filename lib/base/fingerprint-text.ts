const FINGERPRINT = /^SHA256:[A-Za-z0-9+/]{43}$/;

/** Whether a text has the form of a fingerprint, as lib/crypto/fingerprint.ts makes it. */
export function isFingerprint(text: unknown): text is string {
  return typeof text === "string" && FINGERPRINT.test(text);
}
