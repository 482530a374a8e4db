// Step 3: a semaphore counts tokens. A process that finds none waits, and Node goes on meanwhile.
import { fork } from "node:child_process";
import { once } from "node:events";
import { Semaphore } from "../../dist/ipc/index.js";

async function consumer(name) {
  const jobs = Semaphore.create(name, { value: 0 });
  const producer = fork(import.meta.filename, [name]);
  let turns = 0;
  const timer = setInterval(() => turns++, 1); // the event loop is free while we wait
  for (let i = 1; i <= 3; i++) {
    await jobs.waitAsync();
    console.log(`job ${i}`);
  }
  clearInterval(timer);
  console.log(`timers ran meanwhile: ${turns > 0}`);
  console.log(`a fourth within 50 ms: ${await jobs.waitAsync({ timeoutMs: 50 })}`);
  if (producer.exitCode === null) await once(producer, "exit");
  jobs.unlink();
}

async function producer(name) {
  const jobs = Semaphore.open(name);
  for (let i = 0; i < 3; i++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    jobs.post(); // wakes one waiter, in any process and language
  }
}

await (process.argv.length > 2 ? producer(process.argv[2]) : consumer(`/tutorial-${process.pid}`));
