// A time within a sentence, for people.

const EXACT_BELOW_S = 10;

/** "0.25 s", "3 s", "12 s": no more digits than anybody reads. @param ms milliseconds */
export function seconds(ms: number): string {
  const value = ms / 1000;
  return `${value < EXACT_BELOW_S ? Number(value.toPrecision(2)) : Math.round(value)} s`;
}
