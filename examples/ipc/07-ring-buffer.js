// Step 7: whole messages from process to process, through memory. The reader learns of a writer's end, and of its death.
import { fork } from "node:child_process";
import { RingBuffer } from "../../dist/ipc/index.js";

async function reader(name) {
  for (const end of ["closes", "dies"]) {
    const ring = RingBuffer.create(name, { size: 65_536, role: "reader" });
    fork(import.meta.filename, [name, end]);
    try {
      for await (const message of ring) console.log(`got: ${message}`);
      console.log("the writer has closed");
    } catch ({ code }) {
      console.log(`the writer has died: ${code}`); // what it had pushed came first, whole
    }
    ring.close();
    ring.unlink();
  }
}

async function writer(name, end) {
  const ring = RingBuffer.open(name, { role: "writer" });
  for (const message of ["one", "two"]) await ring.push(message);
  if (end === "dies") process.kill(process.pid, "SIGKILL");
  ring.close();
}

await (process.argv.length > 2 ? writer(process.argv[2], process.argv[3]) : reader(`/tutorial-${process.pid}`));
