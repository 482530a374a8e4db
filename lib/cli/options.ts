// Readers of option values for commander, where an option is no setting.
import { InvalidArgumentError } from "commander";

const BYTES_OF_UNIT: Readonly<Record<string, number>> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** "1G", "64M", "500K", "1000": bytes, the units in powers of 1024. */
export function byteSize(text: string): number {
  const [, digits = "", unit = ""] = /^(\d{1,12})([KMGT]?)$/i.exec(text) ?? [];
  const value = digits === "" ? Number.NaN : Number(digits) * (BYTES_OF_UNIT[unit.toUpperCase()] ?? Number.NaN);
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError("expected a size such as 500K, 64M or 1G");
  return value;
}

/** A whole number of at least 1. */
export function positiveInteger(text: string): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (value < 1) throw new InvalidArgumentError("expected a whole number of at least 1");
  return value;
}
