// ptalk/ipc: what is public of this folder. It knows nothing of tables, servers or clients.
export { IpcError } from "./error.ts";
export { Event, type EventOptions } from "./event.ts";
export { FileLock, type FileLockOptions } from "./file-lock.ts";
export { type HostObject, hostObjects } from "./host-objects.ts";
export type { LockStats, LockUser } from "./lock/stats.ts";
export {
  MessageQueue,
  type MessageQueueOptions,
  type QueueRole,
  type ReceivedMessage,
} from "./message-queue.ts";
export { Mutex, type MutexEntry, type MutexOptions } from "./mutex.ts";
export type { PosixName } from "./names.ts";
export {
  type PeerCredentials,
  peerCredentials,
  peerPidfd,
  type ReceivedDescriptors,
  receiveDescriptors,
  sendDescriptors,
  type UnixSocket,
} from "./peer.ts";
export { isAlive, type ProcessIdentity, processIdentity } from "./process.ts";
export { type ProcessExit, processExit } from "./process-exit.ts";
export { type LockOptions, ReadersWriterLock } from "./readers-writers-lock.ts";
export { RingBuffer, type RingOptions, type RingRole, type RingStats } from "./ring-buffer.ts";
export type { SectionOptions } from "./section-queue.ts";
export { SEM_VALUE_MAX, Semaphore, type SemaphoreOptions } from "./semaphore.ts";
export type { WaitOptions } from "./semaphore-wait.ts";
export { type CreateOptions, SharedMemory, type SharedMemoryHandle } from "./shared-memory.ts";
export { type SignalAction, type SignalCount, type SignalInfo, sigaction, signalCounts, sigqueue } from "./signals.ts";
export { type Awaitable, type First, waitAny } from "./wait-any.ts";
