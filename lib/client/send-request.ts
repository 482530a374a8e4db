// What send() is given, checked before anything is said or begun. Pure.
import { DEFAULT_SEND_TIMEOUT, MAX_SEND_TIMEOUT } from "../peer/limits.ts";
import type { SendOptions } from "./types.ts";

/**
 * @returns the milliseconds that the message may take, whole ones
 * @throws TypeError for a name or text that is no string, RangeError for a time that is none; both are the caller's mistakes
 */
export function checkSendRequest(
  to: unknown,
  text: unknown,
  { timeoutMs = DEFAULT_SEND_TIMEOUT }: SendOptions,
): number {
  if (typeof to !== "string") throw new TypeError(`a message is for a name, a string, not ${typeof to}`);
  if (typeof text !== "string") throw new TypeError(`a message is a string, not ${typeof text}`);
  const whole = typeof timeoutMs === "number" ? Math.ceil(timeoutMs) : Number.NaN;
  if (whole > 0 && whole <= MAX_SEND_TIMEOUT) return whole;
  throw new RangeError(`timeoutMs is more than 0 and at most ${MAX_SEND_TIMEOUT}, not ${String(timeoutMs)}`);
}
