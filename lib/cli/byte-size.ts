// Sizes as people write them.

const BYTES_OF_UNIT: Readonly<Record<string, number>> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** "1G", "64M", "500K", "1000": bytes, the units in powers of 1024. Null for any other text. */
export function bytesOf(text: string): number | null {
  const [, digits = "", unit = ""] = /^(\d{1,12})([KMGT]?)$/i.exec(text) ?? [];
  const value = digits === "" ? Number.NaN : Number(digits) * (BYTES_OF_UNIT[unit.toUpperCase()] ?? Number.NaN);
  return Number.isSafeInteger(value) ? value : null;
}
