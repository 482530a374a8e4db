import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

const jsonReport = process.env["PTALK_VITEST_JSON"];

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: "test/global-setup.ts",
    // Real processes, segments and sockets: forked workers so that a crash shows as one, and room for slow machines.
    pool: "forks",
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Half of the tests' time is waiting, for timers and for each other's turn: 1,530 s of tests take 830 s of CPU.
    maxWorkers: 2 * availableParallelism() + 1,
    // .ci/run adds its counts up from the JSON report.
    ...(jsonReport ? { reporters: ["default", "json"], outputFile: { json: jsonReport } } : {}),
  },
});
