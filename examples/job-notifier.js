// Runs a command and tells somebody how it ended: node job-notifier.js NAME COMMAND [ARGUMENT...]
// Its own exit status is the command's. As a batch job: sbatch --wrap "node job-notifier.js alice make -j8"
import { spawn } from "node:child_process";
import { once } from "node:events";
import { hostname, userInfo } from "node:os";
import { TalkClient } from "ptalk";

const [recipient, command, ...args] = process.argv.slice(2);
if (command === undefined) {
  console.error("usage: job-notifier.js NAME COMMAND [ARGUMENT...]");
  process.exit(64);
}

const began = Date.now();
const job = spawn(command, args, { stdio: "inherit" });
const [status, signal] = await once(job, "exit").catch((error) => [127, error.message]);
const seconds = Math.round((Date.now() - began) / 1000);
const text = `${command} on ${hostname()}: ${signal ?? (status === 0 ? "done" : `status ${status}`)} after ${seconds} s`;

// register: "never" sends under the name without being on, as `ptalk send` does: the user may be on elsewhere meanwhile.
const server = process.env.PTALK_SERVER;
const from = process.env.PTALK_NAME ?? userInfo().username;
try {
  const client = await TalkClient.connect({
    name: from,
    register: "never",
    ...(server ? { server } : { startServer: true }),
  });
  try {
    const { ms } = await client.send(recipient, text, { auto: true, timeoutMs: 30_000 });
    console.error(`${recipient} has it (${ms} ms)`);
  } finally {
    await client.close();
  }
} catch (error) {
  console.error(`${recipient} was not told: ${error.message}`); // the job's own outcome counts
}
process.exitCode = status ?? 1;
