// Step 1: two processes, the same bytes.
import { fork } from "node:child_process";
import { once } from "node:events";
import { SharedMemory } from "../../dist/ipc/index.js";

const name = process.argv[2] ?? `/tutorial-${process.pid}`;

async function first() {
  const memory = SharedMemory.create(name, { size: 4096 }); // zeroed, and really there: ENOSPC now, no SIGBUS later
  const bytes = Buffer.from(memory.buffer);
  bytes.write("hello from the first process");
  await once(fork(import.meta.filename, [name]), "exit");
  console.log(`the first reads: ${bytes.toString("utf8", 100, 130)}`);
  memory.close();
  memory.unlink(); // the name goes; the memory goes with the last process that has it open
}

function second() {
  const memory = SharedMemory.open(name);
  const bytes = Buffer.from(memory.buffer);
  console.log(`the second reads: ${bytes.toString("utf8", 0, 28)}`);
  bytes.write("and hello from the second one!", 100);
}

if (process.argv.length > 2) second();
else await first();
