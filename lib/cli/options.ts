// Readers of option values for commander, where an option is no setting.
import { InvalidArgumentError } from "commander";

/** A whole number of at least 1. */
export function positiveInteger(text: string): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (value < 1) throw new InvalidArgumentError("expected a whole number of at least 1");
  return value;
}
