// Step 5: a mutex that the kernel releases when its holder dies. The next holder learns of the death.
import { fork } from "node:child_process";
import { once } from "node:events";
import { Mutex } from "../../dist/ipc/index.js";

async function survivor(name) {
  const mutex = Mutex.create(name);
  const [, signal] = await once(fork(import.meta.filename, [name]), "exit");
  console.log(`the holder was ended by ${signal}`);
  await mutex.withLock(({ abandoned }) => {
    console.log(`we are in; the one before us died inside: ${abandoned}`); // what it guards may be half-written: mend it now
  });
  await mutex.withLock(({ abandoned }) => console.log(`the next section: ${abandoned}`));
  mutex.unlink();
}

function victim(name) {
  Mutex.open(name).withLock(() => process.kill(process.pid, "SIGKILL"));
}

if (process.argv.length > 2) victim(process.argv[2]);
else await survivor(`/tutorial-${process.pid}`);
