// The one loader of the addon, and its types. The addon has primitives only; what they mean is decided in lib/ipc.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

/** What fstat(2) says. `size` in bytes; all numbers exact up to 2^53. */
export interface FileStatus {
  readonly size: number;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  readonly nlink: number;
  readonly dev: number;
  readonly ino: number;
}

/** The addon's functions. Descriptors and handles are small integers; every failure throws the registered error class. */
export interface Native {
  /** Registers the class thrown for every failed system call: `new (errno, syscall, path?)`. */
  setErrorClass(errorClass: new (errno: number, syscall: string, path?: string) => Error): void;

  /** shm_open(3), always with O_CLOEXEC. The umask applies to `mode`. */
  shmOpen(name: string, flags: number, mode: number): number;
  shmUnlink(name: string): void;
  /** posix_fallocate(3) of the first `size` bytes: ENOSPC now rather than SIGBUS later. Never shrinks. */
  allocate(fd: number, size: number, path?: string): void;
  fstat(fd: number): FileStatus;
  fchmod(fd: number, mode: number): void;
  closeFd(fd: number): void;
  /** Another descriptor of the same object, whatever has become of its name, opened for reading or for both; closeFd closes it. */
  reopenFd(fd: number, flags: number): number;
  /** mmap(2) MAP_SHARED of the first `size` bytes. A buffer over a read-only mapping must never be handed out: writing to it is a SIGSEGV. */
  map(fd: number, size: number, writable: boolean, path?: string): ArrayBuffer;
  /**
   * Detaches every view, then munmap(2). Nothing happens when it was unmapped before. Without it a mapping ends when nothing refers to
   * the buffer any more and the event loop has turned.
   */
  unmap(buffer: ArrayBuffer): void;
  /**
   * Lets go of the object that the buffer maps: in its place is private memory with the same bytes, of use to whatever still works on a view, until
   * nothing refers to the buffer. Of more than 32 MiB the object's own memory stays until then. False: there was no memory for it.
   */
  leave(buffer: ArrayBuffer, fd: number): boolean;
  /** Pages of the mapping that were gone when touched (the object was truncated) and read as zeros since. */
  faults(buffer: ArrayBuffer): number;
  /** F_OFD_SETLK: true when the bytes are locked by this descriptor now, false when somebody else is in the way. Never blocks. */
  lockBytes(fd: number, start: number, length: number, exclusive: boolean): boolean;
  unlockBytes(fd: number, start: number, length: number): void;
  /** F_OFD_GETLK for a write lock: the first byte of somebody else's lock in the range, or -1. A descriptor's own locks do not conflict. */
  testBytes(fd: number, start: number, length: number): number;
  /** F_OFD_GETLK for a read lock: whether somebody else has a write lock in the range. Readers' locks do not count. */
  isWriteLocked(fd: number, start: number, length: number): boolean;

  semOpen(name: string, flags: number, mode: number, value: number): number;
  semUnlink(name: string): void;
  semClose(handle: number): void;
  /**
   * The hot calls, semWait to semValue, work on the handle in this word: passing it as an argument would cost a third of
   * the call. Nothing may come between writing it and calling.
   */
  readonly hotHandle: Int32Array;
  /** Blocks this thread without limit; only the end of its environment breaks it off. */
  semWait(): void;
  semTryWait(): boolean;
  semPost(): void;
  semValue(): number;
  /** Blocks this thread for at most `ms` milliseconds of CLOCK_MONOTONIC; false when they have passed. */
  semTimedWait(handle: number, ms: number): boolean;
  /** Starts a wait on a waiting thread; `ms` below 0 is without limit. Its id comes to waitListen's callback. EAGAIN beyond 1024. */
  semWaitStart(handle: number, ms: number): number;
  /** The same for a word of shared memory: over when it is not `expected`, or when somebody wakes who waits for it. futex(2). */
  wordWaitStart(words: Int32Array, index: number, expected: number, ms: number): number;
  /** Wakes at most `count` of those, in all processes, who wait for the word; how many. */
  wordWake(words: Int32Array, index: number, count: number): number;
  /** sched_yield(2) */
  yieldProcessor(): void;
  /** Ends the wait; what it has acquired without being collected goes back. Its id may still come, and means nothing then. */
  waitCancel(id: number): void;
  /** The outcome: true acquired (or woken), false timed out, undefined when the id is not known (any more). */
  waitCollect(id: number): boolean | undefined;
  /** Ends all waits of this environment and gives back what none has collected. Takes up to 200 ms. */
  waitAbandon(): void;
  /** From now on calls back with the id of each wait that is over. Once. */
  waitListen(callback: (id: number) => void): void;
  /** Whether what is to be called back keeps the event loop alive; it does not at first. */
  waitHold(hold: boolean): void;

  /** sigaction(2); returns the claim's id. EBUSY while anyone in this process holds a claim on the signal. */
  sigaction(signo: number, mode: SignalMode): number;
  /** Puts back the action before the claim; false when the current one is not the claim's any more, which is left alone then. */
  sigrestore(signo: number, claim: number): boolean;
  sigcurrent(signo: number): "ours" | "ignore" | "default" | "other";
  sigqueue(pid: number, signo: number, value: number): void;
  /** The signal pipe's read end, the caller's to close: records of claim, signo, code, pid, uid, value, 32 bits each. */
  signalFd(): number;
  /** Signals lost in this process because a pipe was full. */
  signalDrops(): number;
  readonly SIGRTMIN: number;
  readonly SIGRTMAX: number;

  /** /proc/PID/stat: start in clock ticks since boot, state letter, number of threads; null when there is no such process. */
  processStart(pid: number): { readonly startTime: number; readonly state: string; readonly threads: number } | null;

  /** pidfd_open(2): readable once the process has ended; closeFd closes it. ESRCH; EINVAL for a thread that is no process. */
  pidfdOpen(pid: number): number;
  /** The status word of waitpid(2); -1 while its parent has not asked for it, -2 where the kernel (before 6.15) does not tell. */
  pidfdStatus(pidfd: number): number;

  /**
   * Sockets that listen on that TCP port, sock_diag(7); the address in the form of proc_net_tcp(5). Fails where the
   * kernel or a sandbox has no sock_diag: EPROTONOSUPPORT, ENOENT, EPERM…
   */
  tcpListeners(isIPv6: boolean, port: number): { address: string; uid: number; inode: number }[];

  /** SO_PEERCRED. ENOTSUP unless it is a Unix socket, ENOTCONN without a peer. */
  peerCredentials(fd: number): { readonly pid: number; readonly uid: number; readonly gid: number };
  /** SO_PEERPIDFD: the caller's to close with close(2), not with closeFd; -1 where the kernel (before 6.5) has none. */
  peerPidfd(fd: number): number;
  /** SCM_RIGHTS: how many of the bytes were sent, the descriptors with the first of them; 0 when there is no room now. */
  sendDescriptors(fd: number, bytes: Uint8Array, descriptors: Int32Array): number;
  /**
   * How many bytes came, 0 at the end of the stream, -1 when nothing is there now. `descriptors`, of more than maxDescriptors words:
   * how many came with them, then they follow, close-on-exec and the caller's. EMFILE: nothing was kept.
   */
  receiveDescriptors(fd: number, bytes: Uint8Array, descriptors: Int32Array): number;
  /** The most descriptors of one message. */
  readonly maxDescriptors: number;
  /** mq_open(3), never blocking afterwards; closeFd closes it. Sizes count with O_CREAT only. */
  mqOpen(name: string, flags: number, mode: number, maxMessages: number, messageSize: number): number;
  mqUnlink(name: string): void;
  mqAttributes(queue: number): { readonly maxMessages: number; readonly messageSize: number; readonly waiting: number };
  /** False when the queue is full. EMSGSIZE. */
  mqSend(queue: number, bytes: Uint8Array, priority: number): boolean;
  /** How many bytes came, their priority in the first word; -1 when the queue is empty. `bytes` must have room for messageSize. */
  mqReceive(queue: number, bytes: Uint8Array, priority: Int32Array): number;
  /** mq_notify(3) with SIGEV_SIGNAL; signal 0 ends the request. EBUSY while another process has one. */
  mqNotify(queue: number, signo: number, value: number): void;

  /**
   * Calls back once, with 0 or a negated errno, when the descriptor can be read (or written), and keeps the event loop alive until then.
   * Returns an id. The descriptor stays the caller's, who may close it at any time.
   */
  watchStart(fd: number, writable: boolean, callback: (status: number) => void): number;
  watchStop(id: number): void;

  /** Sends one datagram to a Unix socket; "@name" is in the abstract namespace. */
  notify(path: string, text: string): void;
  /** A UDP socket's descriptor, bound. `ipv6`: an IPv6 socket that takes IPv4 too. `bufferBytes` for each of the kernel's two buffers. */
  udpOpen(address: string, port: number, ipv6: boolean, bufferBytes: number): number;
  udpPort(fd: number): number;
  /**
   * From now on calls back when datagrams have come: how many, at most udpBatch, or a negated errno. Each is in its slot of `bytes`
   * (udpBatch slots of equal size), and told of in udpMetaWords words of `meta`: length, port, address (16 bytes), zone. Keeps the
   * event loop alive. Once for a socket. After 16 errors in a row it is not read any more.
   */
  udpReceive(fd: number, bytes: Uint8Array, meta: Int32Array, callback: (count: number) => void): void;
  /** Reads what has come into the same slots, without the callback: how many, 0 or less for none. */
  udpRead(fd: number): number;
  /** The address of datagram `index` of the batch that was called back for last, as text. */
  udpSource(fd: number, index: number): string;
  /** sendto(2), without blocking: 0, or the errno. */
  udpSend(fd: number, datagram: Uint8Array, address: string, port: number): number;
  /** Datagrams one behind the other in `bytes`, all to one address, in as few calls of the kernel as it takes: 0, or the last errno. */
  udpSendMany(fd: number, bytes: Uint8Array, lengths: Int32Array, count: number, address: string, port: number): number;
  udpClose(fd: number): void;
  /** The callback of udpReceive is told this when ICMP errors have come. */
  readonly udpErrorsCame: number;
  /** What ICMP has said of datagrams that went out: errno, port and address, of each; told once. */
  udpErrors(fd: number): (number | string)[];
  readonly udpBatch: number;
  readonly udpMetaWords: number;
  /**
   * Creates the path and listens there on a Unix socket; closing it does not unlink the path. Returns the descriptor,
   * close-on-exec.
   */
  listenUnix(path: string, mode: number, backlog: number): number;
  /** Whether that is a descriptor of a Unix socket. */
  isUnixSocket(fd: number): boolean;
  /**
   * One service of nsswitch.conf(5) is asked for a user, by login or by uid: null when there is no such module, else its status (1 found, 0 no
   * such user, below 0 unknown), and the uid and login found. Blocks for as long as the service likes.
   */
  nssLookup(service: string, user: string | number): [status: number, uid?: number, login?: string] | null;
  /** TCP_USER_TIMEOUT of a connection: ms that sent data may stay unacknowledged. */
  setUserTimeout(fd: number, ms: number): void;

  /** tcflush(3) TCIFLUSH: what was typed and not read is forgotten. */
  discardInput(fd: number): void;
}

/** What a claim does with its signal. */
export const SIGNAL_DEFAULT = 0;
export const SIGNAL_IGNORE = 1;
export const SIGNAL_HANDLE = 2;
export type SignalMode = typeof SIGNAL_DEFAULT | typeof SIGNAL_IGNORE | typeof SIGNAL_HANDLE;

const require = createRequire(import.meta.url);
const packageRoot = join(import.meta.dirname, "..");

/** Compiled here, or as it is published. */
const PLACES = ["build/Release/ptalk.node", `prebuilds/linux-${process.arch}/ptalk.glibc.node`];

/** The `code` of the error where no addon loads; its message says what to do. lib/cli/output.ts knows it. */
const NO_ADDON = "ERR_PTALK_ADDON";

function load(): Native {
  // A sanitizer build, or one under test, instead of the installed one.
  const override = process.env.PTALK_ADDON;
  const file = override || PLACES.map((place) => join(packageRoot, place)).find((place) => existsSync(place));
  try {
    if (!file) throw new Error(`no file ${PLACES.join(" or ")} in ${packageRoot}`);
    return require(file) as Native;
  } catch (cause) {
    const message = whyNone(file, cause instanceof Error ? cause.message : String(cause));
    throw Object.assign(new Error(message, { cause }), { code: NO_ADDON });
  }
}

/** One sentence: what this machine is, and what to do. */
function whyNone(file: string | undefined, reason: string): string {
  const { platform, arch } = process;
  if (platform !== "linux") return `ptalk runs on Linux only, and this is ${platform}`;
  if (!hasGlibc())
    return "ptalk needs glibc, and this system has musl: use an image of Debian, Ubuntu or RHEL (node:22-slim)";
  const build = `node ${join(packageRoot, "scripts/install.js")} --build-from-source`;
  const compile = `compile it with \`${build}\`, which takes g++, make and Python 3`;
  if (file === undefined) return `ptalk has no addon for ${platform}-${arch} in ${packageRoot}: ${compile}`;
  const other = /wrong ELF class|invalid ELF header|cannot open shared object file/.test(reason);
  const copied = other ? " (a node_modules folder that was copied from another machine?)" : "";
  return `ptalk's addon for ${platform}-${arch} does not load${copied}: ${reason}; ${compile}`;
}

/** Node's own record of what it runs on; asked only when something is wrong. */
function hasGlibc(): boolean {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  return report?.header?.glibcVersionRuntime !== undefined;
}

export const native: Native = load();
