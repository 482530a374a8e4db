// Many processes change one JSON file, one at a time: node shared-file.js FILE [TIMES]
// The lock is the kernel's, on a file beside it: a process that is killed inside lets the others in at once.
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { FileLock, IpcError } from "ptalk/ipc";

const [file, times = "1"] = process.argv.slice(2);
if (file === undefined) {
  console.error("usage: shared-file.js FILE [TIMES]");
  process.exit(64);
}

/** A file beside it: the lock belongs to the file that was opened, and the data file is replaced at each change. */
let lock;
try {
  lock = FileLock.open(`${file}.lock`);
  for (let i = 0; i < Number(times); i++) {
    await lock.withLock(
      () => {
        const counts = read();
        counts[process.pid] = (counts[process.pid] ?? 0) + 1;
        counts.total = (counts.total ?? 0) + 1;
        writeFileSync(`${file}.new`, JSON.stringify(counts));
        renameSync(`${file}.new`, file); // whole or not at all, whenever this process is killed
      },
      { timeoutMs: 30_000 },
    );
  }
  console.log(`${times} changes`);
} catch (error) {
  if (!(error instanceof IpcError)) throw error;
  console.error(`shared-file: ${error.message}`); // ETIMEDOUT: somebody has held it for long; EACCES, ENOSPC
  process.exitCode = 1;
} finally {
  lock?.close();
}

function read() {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    if (error.code === "ENOENT") return {};
    throw error;
  }
}
