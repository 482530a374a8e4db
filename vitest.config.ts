import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

const jsonReport = process.env["PTALK_VITEST_JSON"];
/** What a test may take: far more than any does, so that a hang fails with a name. One that searches takes its volume's times as long. */
const TEST_MS = 120_000 * Math.max(1, Number(process.env["PTALK_TEST_VOLUME"] ?? 1));

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: "test/global-setup.ts",
    // Real processes, segments and sockets: forked workers so that a crash shows as one, and room for slow machines.
    pool: "forks",
    testTimeout: TEST_MS,
    hookTimeout: TEST_MS,
    // Half of the tests' time is waiting, for timers and for each other's turn: 1,530 s of tests take 830 s of CPU.
    maxWorkers: 2 * availableParallelism() + 1,
    // .ci/run adds its counts up from the JSON report.
    ...(jsonReport ? { reporters: ["default", "json"], outputFile: { json: jsonReport } } : {}),
  },
});
