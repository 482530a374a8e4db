// Messages under loss, one after the other: what a confirmed message of ptalk takes, beside the echo of as many bytes over udx-native, a
// reliable stream over UDP, where that is installed (see paths/ways.js).
import { execFile, spawnSync } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

const LOSSES = [0, 10, 30, 50]; // percent, each way
/** Arguments of paths/ways.js and what they are: a way of 200 ms there and back, with and without loss, and a sender that moves. */
const DELAYED = [
  [["0", "100"], "100 ms each way"],
  [["10", "100"], "100 ms and 10 % lost each way"],
  [["0", "5", "roam"], "5 ms each way, the sender's port changes"],
];
const LIMIT_MS = 600_000;

export async function run(report) {
  if (spawnSync("unshare", ["-n", "sh", "-c", "ip link set lo up && nft list ruleset"]).status !== 0) {
    report.row({ name: "no network namespace with nft here", value: 0, unit: "" });
    return;
  }
  const program = join(import.meta.dirname, "paths/ways.js");
  const ways = [...LOSSES.map((loss) => [[String(loss)], `${loss} % lost each way`]), ...DELAYED];
  for (const [words, what] of ways) {
    const command = ["-n", process.execPath, program, ...words];
    const { stdout } = await promisify(execFile)("unshare", command, { timeout: LIMIT_MS });
    for (const [who, figures] of Object.entries(JSON.parse(stdout))) {
      for (const [name, value] of Object.entries(figures ?? {})) {
        const isCount = name === "done"; // of 200, within the time that each is given
        report.row({ name: `${what}, ${who}: ${name}`, value, unit: isCount ? "messages" : "ms" });
      }
    }
  }
}
