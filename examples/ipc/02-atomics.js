// Step 2: two processes count in the same word. Without Atomics some counts are lost.
import { fork } from "node:child_process";
import { once } from "node:events";
import { SharedMemory } from "../../dist/ipc/index.js";

const COUNTS = 500_000;
const [PLAIN, ATOMIC, READY] = [0, 16, 32]; // each on a cache line of its own

function count(words) {
  Atomics.add(words, READY, 1);
  while (Atomics.load(words, READY) < 2); // both begin together
  for (let i = 0; i < COUNTS; i++) words[PLAIN]++; // a load, an addition and a store: another process may come between
  for (let i = 0; i < COUNTS; i++) Atomics.add(words, ATOMIC, 1); // one step
}

async function first(name) {
  const memory = SharedMemory.create(name, { size: 4096 });
  const words = new Int32Array(memory.buffer);
  let lost = 0;
  // Once is enough, if both have a processor at the same time.
  while (lost === 0) {
    words.fill(0);
    const other = fork(import.meta.filename, [name]);
    count(words);
    await once(other, "exit");
    lost = 2 * COUNTS - words[PLAIN];
  }
  console.log(`two processes have counted to ${COUNTS} each`);
  console.log(`words[i]++: some were lost (${lost > 0})`);
  console.log(`Atomics.add: ${words[ATOMIC]}`);
  memory.unlink();
}

if (process.argv.length > 2) {
  const memory = SharedMemory.open(process.argv[2]);
  count(new Int32Array(memory.buffer));
} else {
  await first(`/tutorial-${process.pid}`);
}
