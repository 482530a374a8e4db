// Readers of option values for commander, where an option is no setting.
import { InvalidArgumentError } from "commander";
import { bytesOf } from "./byte-size.ts";

/** "1G", "64M", "500K", "1000": bytes, the units in powers of 1024. */
export function byteSize(text: string): number {
  const value = bytesOf(text);
  if (value === null) throw new InvalidArgumentError("expected a size such as 500K, 64M or 1G");
  return value;
}

/** A whole number of at least 1. */
export function positiveInteger(text: string): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (value < 1) throw new InvalidArgumentError("expected a whole number of at least 1");
  return value;
}
