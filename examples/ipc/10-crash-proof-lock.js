// Step 10: many readers or one writer, and a process may be killed at any instruction. Two accounts always have 100 together.
import { fork } from "node:child_process";
import { once } from "node:events";
import { ReadersWriterLock, SharedMemory } from "../../dist/ipc/index.js";

const [A, B] = [0, 1];
const TOTAL = 100;

/** Runs under the lock when a writer has died inside: puts the data in order. It may be killed itself, so it can be run again. */
const repairOf = (accounts) => () => {
  console.log(`repair: ${accounts[A]} and ${accounts[B]} are half of a transfer`);
  accounts[B] = TOTAL - accounts[A];
};

async function survivor(name) {
  const memory = SharedMemory.create(name, { size: 4096 });
  const accounts = new Int32Array(memory.buffer);
  accounts[A] = TOTAL;
  const lock = ReadersWriterLock.create(`${name}.lock`, { repair: repairOf(accounts) });
  const read = () => lock.withRead(() => `${accounts[A]} + ${accounts[B]}`);
  console.log(`before: ${await read()}`);
  console.log(`three readers at once: ${(await Promise.all([read(), read(), read()])).length}`);
  const [, signal] = await once(fork(import.meta.filename, [name]), "exit");
  console.log(`the writer was ended by ${signal}, in the middle`);
  console.log(`after: ${await read()}`);
  const { recoveries, damaged } = lock.stats();
  console.log(`recoveries ${recoveries}, damaged ${damaged}`);
  lock.unlink();
  memory.unlink();
}

async function victim(name) {
  const memory = SharedMemory.open(name);
  const accounts = new Int32Array(memory.buffer);
  const lock = ReadersWriterLock.open(`${name}.lock`, { repair: repairOf(accounts) });
  await lock.withWrite(() => {
    accounts[A] -= 30;
    process.kill(process.pid, "SIGKILL"); // before the other half
    accounts[B] += 30;
  });
}

await (process.argv.length > 2 ? victim(process.argv[2]) : survivor(`/tutorial-${process.pid}`));
