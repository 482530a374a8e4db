// What a process sees of a lock that it has no part in: it maps the ledger for reading and takes no slot.

import { SharedMemory, wordsOf } from "../shared-memory.ts";
import { notReady, wrongSize } from "./errors.ts";
import { isReady } from "./join.ts";
import { Ledger } from "./ledger.ts";
import { SEGMENT_BYTES } from "./lock-layout.ts";
import { type LockStats, statsOf } from "./stats.ts";

/** ENOENT, EACCES; EINVAL for an object that is no lock, or of another layout version; EAGAIN while it is being made. */
export function inspect(name: string): LockStats {
  using shm = SharedMemory.open(name, { readOnly: true });
  if (shm.size !== SEGMENT_BYTES) throw wrongSize(name, shm.size);
  const ledger = new Ledger(wordsOf(shm));
  if (!isReady(name, ledger)) throw notReady(name, 0);
  return statsOf(ledger);
}
