// A process of bench/lock.bench.js. Arguments: the lock's name, then what to do:
//   read|write MS     as many empty sections as fit in MS, once the parent says go; tells how many a second
//   hold              enters as a writer, once the parent says go, says so, and stays until it is killed
import { ReadersWriterLock } from "../../dist/ipc/index.js";

const [, , name, what, ms] = process.argv;
const lock = ReadersWriterLock.open(name, { repair: () => {} });
const nothing = () => {};
/** Between two turns of the event loop. */
const BATCH = 1000;

async function hammer(method) {
  const start = performance.now();
  const end = start + Number(ms);
  let sections = 0;
  while (performance.now() < end) {
    for (let i = 0; i < BATCH; i++) await lock[method](nothing);
    sections += BATCH;
    await new Promise((resolve) => setImmediate(resolve));
  }
  process.send((sections / (performance.now() - start)) * 1000, () => process.disconnect());
}

const hold = () => void lock.withWrite(() => new Promise(() => process.send("inside")));
process
  .once("disconnect", () => process.exit(0))
  .once("message", () => (what === "hold" ? hold() : hammer(what === "read" ? "withRead" : "withWrite")))
  .send("ready");
