// Step 8: an event wakes all waiters, and one wait can be for several things.
import { fork } from "node:child_process";
import { Event, Semaphore, waitAny } from "../../dist/ipc/index.js";

async function waiter(name) {
  const start = Event.create(`${name}-start`);
  const jobs = Semaphore.create(`${name}-jobs`);
  const child = fork(import.meta.filename, [name]);
  const all = [1, 2, 3].map(async (number) => {
    await start.wait();
    return number;
  });
  console.log(`woken by one set(): ${await Promise.all(all)}`);
  const sources = [jobs, { pid: child.pid }];
  const job = await waitAny(sources);
  console.log(`first: source ${job.index}`);
  const end = await waitAny(sources);
  console.log(`then: source ${end.index}, the process has ended`);
  for (const object of [start, jobs]) object.unlink();
}

async function other(name) {
  const start = Event.open(`${name}-start`);
  const jobs = Semaphore.open(`${name}-jobs`);
  start.set(); // later waiters pass at once, until reset()
  jobs.post();
  await new Promise((resolve) => setTimeout(resolve, 100));
}

await (process.argv.length > 2 ? other(process.argv[2]) : waiter(`/tutorial-${process.pid}`));
