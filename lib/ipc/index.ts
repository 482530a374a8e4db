// ptalk/ipc: what is public of this folder. It knows nothing of tables, servers or clients.
export { IpcError } from "./error.ts";
export type { LockStats, LockUser } from "./lock/stats.ts";
export { isAlive, type ProcessIdentity, processIdentity } from "./process.ts";
export { type LockOptions, ReadersWriterLock, type SectionOptions } from "./readers-writers-lock.ts";
export { SEM_VALUE_MAX, Semaphore, type SemaphoreOptions } from "./semaphore.ts";
export type { WaitOptions } from "./semaphore-wait.ts";
export { type CreateOptions, SharedMemory } from "./shared-memory.ts";
export { type SignalAction, type SignalInfo, sigaction, sigqueue } from "./signals.ts";
