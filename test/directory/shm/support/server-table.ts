// Tables under the names that Directory looks for, on ports that no server of anybody's uses.
import { randomInt } from "node:crypto";
import { existsSync } from "node:fs";
import { SharedMemory } from "../../../../lib/ipc/shared-memory.ts";

/** Below the range of ports that the kernel gives out by itself. */
export function freshPort(): number {
  for (;;) {
    const port = 10_000 + randomInt(20_000);
    if (!existsSync(`/dev/shm/ptalk-server-${port}`)) return port;
  }
}

/** Changes a segment's words behind everybody's back. */
export function raw(name: string, change: (words: Int32Array) => void): void {
  const shm = SharedMemory.open(name);
  change(new Int32Array(shm.buffer));
  shm.close();
}
