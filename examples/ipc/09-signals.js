// Step 9: signals that carry a number, in order, with their sender; and how a process ended.
import { fork } from "node:child_process";
import { once } from "node:events";
import { processExit, sigaction, sigqueue } from "../../dist/ipc/index.js";

async function sender() {
  const child = fork(import.meta.filename, ["receiver"]);
  await once(child, "message"); // it has claimed the signal
  for (const value of [3, 1, 2]) sigqueue(child.pid, "SIGRTMIN+1", value);
  const { status, signal } = await processExit(child.pid); // any process's, not only a child's
  // Before Linux 6.15 the kernel tells the status to the parent only.
  console.log(`ended with ${status ?? child.exitCode}, by ${signal ?? "itself"}`);
}

function receiver() {
  const values = [];
  const alive = setInterval(() => {}, 1000); // a claim alone does not keep the process alive
  sigaction("SIGRTMIN+1", ({ value, pid }) => {
    values.push(value);
    if (values.length < 3) return;
    clearInterval(alive);
    console.log(`values ${values.join(", ")} from the parent: ${pid === process.ppid}`);
    process.exit(7);
  });
  process.send("ready");
  return new Promise(() => {});
}

await (process.argv.length > 2 ? receiver() : sender());
