import { defineConfig } from "vitest/config";

const jsonReport = process.env["PTALK_VITEST_JSON"];

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Real processes, segments and sockets: forked workers so that a crash shows as one, and room for slow machines.
    pool: "forks",
    testTimeout: 120_000,
    hookTimeout: 120_000,
    maxWorkers: 2,
    // .ci/run adds its counts up from the JSON report.
    ...(jsonReport ? { reporters: ["default", "json"], outputFile: { json: jsonReport } } : {}),
  },
});
