// Prints "passed failed skipped" of a vitest JSON report, for .ci/run. Exits 1 when there is no usable report.
import { readFileSync } from "node:fs";

const report = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8"));
const failedTests = report.numFailedTests;
// A file that could not be collected holds no test, yet is a failure.
const emptyFailures = report.testResults.filter(
  (file) => file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed"),
).length;
console.log(report.numPassedTests, failedTests + emptyFailures, report.numPendingTests + report.numTodoTests);
