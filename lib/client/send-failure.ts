// Why a message failed, in the words and codes that send() promises. Pure.
import { FAILED_CODES, type FailedCode, TalkError } from "../errors.ts";

/** What send() rejects with: our own deadline is "not delivered", the caller's abort stays what it is. */
export function sendFailure(to: string, error: Error, timeoutMs: number): Error {
  if (error.name === "TimeoutError")
    return TalkError.notDelivered(to, `no confirmation within ${timeoutMs / 1000} s`, error);
  if (!(error instanceof TalkError)) return error;
  if (error.code === "refused") {
    return new TalkError("key-mismatch", `"${to}" refuses: it knows you under another key`, { cause: error });
  }
  if (error.code === "unreachable") return TalkError.notDelivered(to, error.message, error);
  return error;
}

/** The `code` of the "failed" event. */
export function failedCode(error: Error): FailedCode {
  const code = error instanceof TalkError ? error.code : "";
  return FAILED_CODES.find((known) => known === code) ?? "not-delivered";
}
