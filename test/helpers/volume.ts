// How much the tests that search at random try: PTALK_TEST_VOLUME times what is quick. `npm run test:search` is those tests with
// a larger volume, for .ci/run and for a night.
const VOLUME = Number(process.env["PTALK_TEST_VOLUME"] ?? 1);

export function times(count: number): number {
  return Math.ceil(count * VOLUME);
}
