// ptalk/ipc: what is public of this folder. It knows nothing of tables, servers or clients.
export { IpcError } from "./error.ts";
export { SEM_VALUE_MAX, Semaphore, type SemaphoreOptions, type WaitOptions } from "./semaphore.ts";
export { type CreateOptions, SharedMemory } from "./shared-memory.ts";
