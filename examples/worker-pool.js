// A pool of processes that take jobs from one ring buffer and answer through another: node worker-pool.js [WORKERS] [JOBS]
// Each job goes to one worker. A killed worker does not block the others: the kernel releases its locks.
import { fork } from "node:child_process";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { RingBuffer } from "ptalk/ipc";

const [workers = "2", jobs = "1000", pool] = process.argv.slice(2);
const ringsOf = (owner) => ({ jobs: `/ptalk-example-${owner}-jobs`, answers: `/ptalk-example-${owner}-answers` });

if (pool === undefined) await primary(Number(workers), Number(jobs));
else await worker(ringsOf(pool));

async function primary(workerCount, jobCount) {
  const names = ringsOf(process.pid);
  const toDo = RingBuffer.create(names.jobs, { size: 65_536, role: "writer" });
  const done = RingBuffer.create(names.answers, { size: 65_536, role: "reader" });
  try {
    const file = fileURLToPath(import.meta.url);
    for (let i = 0; i < workerCount; i++) fork(file, [workers, jobs, String(process.pid)]);
    const answers = collect(done, jobCount);
    for (let i = 0; i < jobCount; i++) await toDo.push(`job ${i}`); // waits while the ring is full
    toDo.close(); // the end, for every worker, once the ring is empty
    const digests = await answers;
    console.log(`${jobCount} jobs, ${digests.size} different answers, ${workerCount} workers`);
  } finally {
    toDo.unlink();
    done.unlink();
    done.close();
  }
}

async function collect(done, count) {
  const digests = new Set();
  while (digests.size < count) {
    const answer = await done.pop({ timeoutMs: 60_000 });
    if (answer === null) break;
    digests.add(answer.toString());
  }
  return digests;
}

async function worker(names) {
  const jobs = RingBuffer.open(names.jobs, { role: "reader" });
  const answers = RingBuffer.open(names.answers, { role: "writer" });
  try {
    for await (const job of jobs) await answers.push(createHash("sha256").update(job).digest("hex"));
  } finally {
    jobs.close();
    answers.close();
  }
}
