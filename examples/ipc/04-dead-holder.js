// Step 4: a semaphore with one token keeps others out. When its holder is killed, the token is gone.
import { fork } from "node:child_process";
import { once } from "node:events";
import { Semaphore } from "../../dist/ipc/index.js";

async function survivor(name) {
  const mutex = Semaphore.create(name, { value: 1 });
  const [, signal] = await once(fork(import.meta.filename, [name]), "exit");
  console.log(`the holder was ended by ${signal}`);
  const got = await mutex.waitAsync({ timeoutMs: 200 });
  console.log(`we get in: ${got}`); // never: a POSIX semaphore has no owner, so no process can give the token back for it
  mutex.unlink();
}

function victim(name) {
  const mutex = Semaphore.open(name);
  mutex.wait();
  process.kill(process.pid, "SIGKILL"); // inside
}

if (process.argv.length > 2) victim(process.argv[2]);
else await survivor(`/tutorial-${process.pid}`);
