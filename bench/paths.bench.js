// Messages under loss, one after the other: what a confirmed message of ptalk takes, beside the echo of as many bytes over udx-native, a
// reliable stream over UDP, where that is installed (see paths/ways.js).
import { execFile, spawnSync } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

const LOSSES = [0, 10, 30, 50]; // percent, each way
const LIMIT_MS = 600_000;

export async function run(report) {
  if (spawnSync("unshare", ["-n", "sh", "-c", "ip link set lo up && nft list ruleset"]).status !== 0) {
    report.row({ name: "no network namespace with nft here", value: 0, unit: "" });
    return;
  }
  const program = join(import.meta.dirname, "paths/ways.js");
  for (const loss of LOSSES) {
    const command = ["-n", process.execPath, program, String(loss)];
    const { stdout } = await promisify(execFile)("unshare", command, { timeout: LIMIT_MS });
    for (const [who, figures] of Object.entries(JSON.parse(stdout))) {
      for (const [name, value] of Object.entries(figures ?? {})) {
        const isCount = name === "done"; // of 200, within the time that each is given
        report.row({ name: `${loss} % lost each way, ${who}: ${name}`, value, unit: isCount ? "messages" : "ms" });
      }
    }
  }
}
