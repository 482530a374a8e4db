// Why a message failed, in the words and codes that send() promises. Pure.
import { FAILED_CODES, type FailedCode, TalkError, type TalkErrorCode } from "../base/errors.ts";

/** Ends of the session or the transport: what they mean to a message is that nobody has confirmed it. */
const MEANS_NOT_DELIVERED: readonly TalkErrorCode[] = ["unreachable", "closed", "protocol", "full", "name-taken"];

/** What send() rejects with: our own deadline is "not delivered", the caller's abort stays what it is. */
export function sendFailure(to: string, error: unknown, timeoutMs: number, signal?: AbortSignal): unknown {
  if (signal?.aborted && error === signal.reason) return error;
  if (error instanceof Error && error.name === "TimeoutError")
    return TalkError.notDelivered(
      to,
      `no confirmation within ${Number((timeoutMs / 1000).toPrecision(2))} s`,
      error,
    );
  if (!(error instanceof TalkError)) return error;
  if (error.code === "refused") {
    return new TalkError("key-mismatch", `"${to}" refuses: it knows you under another key`, { cause: error });
  }
  return MEANS_NOT_DELIVERED.includes(error.code) ? TalkError.notDelivered(to, error.message, error) : error;
}

/** The `code` of the "failed" event. */
export function failedCode(error: unknown): FailedCode {
  const code = error instanceof TalkError ? error.code : "";
  return FAILED_CODES.find((known) => known === code) ?? "not-delivered";
}
