// Step 6: the same over a file: no lock file to remove, no heartbeat, nothing stale.
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileLock } from "../../dist/ipc/index.js";

const add = (file) => writeFileSync(file, `${Number(readFileSync(file, "utf8")) + 1}\n`); // read, change, write: not atomic

async function first() {
  const folder = mkdtempSync(join(tmpdir(), "tutorial-"));
  const file = join(folder, "counter");
  writeFileSync(file, "0\n");
  const lock = FileLock.open(file);
  const other = fork(import.meta.filename, [file]);
  for (let i = 0; i < 100; i++) await lock.withLock(() => add(file));
  if (other.exitCode === null) await once(other, "exit");
  console.log(`two processes have added 100 each: ${readFileSync(file, "utf8").trim()}`);

  const readers = [lock, FileLock.open(file)];
  let inside = 0;
  let bothInside = () => {};
  const both = new Promise((resolve) => (bothInside = resolve));
  const read = () => {
    if (++inside === readers.length) bothInside();
    return both;
  };
  await Promise.all(readers.map((reader) => reader.withShared(read)));
  console.log(`readers inside together: ${inside}`);
  rmSync(folder, { recursive: true });
}

async function another(file) {
  const lock = FileLock.open(file);
  for (let i = 0; i < 100; i++) await lock.withLock(() => add(file));
}

await (process.argv.length > 2 ? another(process.argv[2]) : first());
