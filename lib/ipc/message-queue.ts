// POSIX message queues: mq_open(3), mq_send(3), mq_receive(3), mq_notify(3). The kernel keeps them, so C and Python programs can be at the
// other end, and a queue outlives its processes. For speed between Node processes see ring-buffer.ts.
import { constants, readdirSync } from "node:fs";
import { native } from "../native.ts";
import { IpcError } from "./error.ts";
import { checkedName, checkInteger, checkMilliseconds, checkMode, kindOf, type PosixName } from "./names.ts";
import { openOrCreateShared } from "./open-or-create.ts";
import { readiness } from "./readiness.ts";
import { abortError, type WaitOptions } from "./semaphore-wait.ts";
import { signalNumber } from "./signal-names.ts";

const { O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_WRONLY } = constants;
const FLAGS = { reader: O_RDONLY, writer: O_WRONLY, both: O_RDWR } as const;
const DEFAULT_MODE = 0o600;
/** The defaults of Linux, /proc/sys/fs/mqueue/msg_default and msgsize_default. */
const DEFAULT_MESSAGES = 10;
const DEFAULT_MESSAGE_SIZE = 8192;
/** Linux: MQ_PRIO_MAX is 32768. */
const PRIORITY_MAX = 32_767;
/** Where Linux shows queues as files, if it is mounted: mq_overview(7). */
const DIRECTORY = "/dev/mqueue";
const INT32_MIN = -(2 ** 31);
const INT32_MAX = 2 ** 31 - 1;
const CLOSED = -1;

/** What a process may do with a queue. */
export interface QueueRole {
  /** What this object may do; permission for that is needed. Default "both". */
  role?: keyof typeof FLAGS;
}

/** For `MessageQueue.create()` and `openOrCreate()`. */
export interface MessageQueueOptions extends QueueRole {
  /** How many messages can wait. Default 10, the most that unprivileged users get unless fs.mqueue.msg_max is raised. */
  maxMessages?: number;
  /** Bytes of the longest message. Default 8192, likewise (fs.mqueue.msgsize_max). */
  messageSize?: number;
  /** Permission bits, less the umask. Default 0o600. */
  mode?: number;
}

/** A message from a `MessageQueue`. */
export interface ReceivedMessage {
  readonly data: Buffer;
  /** 0 to 32767: the higher come first, those of one priority in the order they were sent. */
  readonly priority: number;
}

const forgotten = new FinalizationRegistry<number>((queue) => native.closeFd(queue));

/**
 * A POSIX message queue: whole messages with priorities between processes of any language, kept by the kernel until it is unlinked.
 * @see https://pubs.opengroup.org/onlinepubs/9799919799/functions/mq_open.html
 */
export class MessageQueue implements Disposable {
  readonly #name: string;
  readonly #messageSize: number;
  readonly #maxMessages: number;
  #queue: number;

  private constructor(name: string, queue: number) {
    this.#name = name;
    this.#queue = queue;
    const { messageSize, maxMessages } = native.mqAttributes(queue);
    this.#messageSize = messageSize;
    this.#maxMessages = maxMessages;
    forgotten.register(this, queue, this);
  }

  /** The POSIX name: "/name". */
  get name(): string {
    return this.#name;
  }

  /** Bytes of the longest message. */
  get messageSize(): number {
    return this.#messageSize;
  }

  /** How many messages can wait. */
  get maxMessages(): number {
    return this.#maxMessages;
  }

  /** How many messages wait at this instant. */
  get waiting(): number {
    return native.mqAttributes(this.#open("mq_getattr")).waiting;
  }

  /**
   * Creates a queue that did not exist. EEXIST when the name is taken; EINVAL for sizes beyond the system's limits, EMFILE beyond
   * RLIMIT_MSGQUEUE, ENOSPC.
   */
  static create(name: PosixName, options: MessageQueueOptions = {}): MessageQueue {
    const { role = "both", maxMessages = DEFAULT_MESSAGES, messageSize = DEFAULT_MESSAGE_SIZE } = options;
    const { mode = DEFAULT_MODE } = options;
    const text = checkedName(name, "mq_open");
    checkInteger("maxMessages", maxMessages, 1, INT32_MAX);
    checkInteger("messageSize", messageSize, 1, INT32_MAX);
    checkMode(mode);
    const flags = flagsOf(role) | O_CREAT | O_EXCL;
    return new MessageQueue(text, native.mqOpen(text, flags, mode, maxMessages, messageSize));
  }

  /** Opens one that exists. ENOENT, EACCES. */
  static open(name: PosixName, { role = "both" }: QueueRole = {}): MessageQueue {
    const text = checkedName(name, "mq_open");
    return new MessageQueue(text, native.mqOpen(text, flagsOf(role), 0, 0, 0));
  }

  /** Opens the queue as it is, or creates it when there is none. */
  static openOrCreate(name: PosixName, options: MessageQueueOptions = {}): MessageQueue {
    return openOrCreateShared(
      () => MessageQueue.open(name, options),
      () => MessageQueue.create(name, options),
    );
  }

  /** Removes the name. Processes that have it open go on using it. ENOENT, EACCES. */
  static unlink(name: PosixName): void {
    native.mqUnlink(checkedName(name, "mq_unlink"));
  }

  /** The names ("/name", sorted) of all queues that begin with the prefix. ENOENT where /dev/mqueue is not mounted. */
  static list(prefix = "/"): string[] {
    if (typeof prefix !== "string") throw new TypeError("prefix must be a string");
    const wanted = prefix.startsWith("/") ? prefix : `/${prefix}`;
    return entries()
      .map((entry) => `/${entry}`)
      .filter((name) => name.startsWith(wanted))
      .sort();
  }

  /** Sends a message if there is room; false if not. EMSGSIZE beyond `messageSize`, EBADF when opened as a reader. */
  trySend(message: Uint8Array | string, priority = 0): boolean {
    checkInteger("priority", priority, 0, PRIORITY_MAX);
    return native.mqSend(this.#open("mq_send"), bytesOf(message), priority);
  }

  /** As trySend, and waits for room: ETIMEDOUT after `timeoutMs`, an AbortError when `signal` aborts; then nothing was sent. */
  async send(
    message: Uint8Array | string,
    { priority = 0, timeoutMs, signal }: WaitOptions & { priority?: number } = {},
  ): Promise<void> {
    const bytes = bytesOf(message);
    await this.#until(() => this.trySend(bytes, priority) || null, "mq_timedsend", true, timeoutMs, signal);
  }

  /** Takes the first message of the highest priority, if there is one; null if not. EBADF when opened as a writer. */
  tryReceive(): ReceivedMessage | null {
    const data = Buffer.allocUnsafe(this.#messageSize);
    const priority = new Int32Array(1);
    const length = native.mqReceive(this.#open("mq_receive"), data, priority);
    return length < 0 ? null : { data: data.subarray(0, length), priority: priority[0] ?? 0 };
  }

  /** As tryReceive, and waits for one: ETIMEDOUT after `timeoutMs`; an AbortError when `signal` aborts, with nothing taken. */
  receive({ timeoutMs, signal }: WaitOptions = {}): Promise<ReceivedMessage> {
    return this.#until(() => this.tryReceive(), "mq_timedreceive", false, timeoutMs, signal);
  }

  /**
   * Has a signal sent to this process, once, when a message comes into the empty queue while no process waits for one:
   * claim it with `sigaction`; its `code` is SI_MESGQ (-3), its `value` the one given here. EBUSY while another process
   * has asked for it. Disposing takes the request back.
   * @see https://pubs.opengroup.org/onlinepubs/9799919799/functions/mq_notify.html
   */
  notify(signal: string, value = 0): Disposable {
    checkInteger("value", value, INT32_MIN, INT32_MAX);
    native.mqNotify(this.#open("mq_notify"), signalNumber(signal), value);
    return {
      [Symbol.dispose]: () => {
        if (this.#queue !== CLOSED) native.mqNotify(this.#queue, 0, 0);
      },
    };
  }

  /** Ends this object's use of the queue; a request to be notified ends with it. Waits that are pending reject with EBADF. */
  close(): void {
    if (this.#queue === CLOSED) return;
    const queue = this.#queue;
    this.#queue = CLOSED;
    forgotten.unregister(this);
    native.closeFd(queue);
  }

  /** Removes the name, as the static `unlink`. Works after `close` too. */
  unlink(): void {
    MessageQueue.unlink(this.#name);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #open(syscall: string): number {
    if (this.#queue === CLOSED) throw IpcError.of("EBADF", syscall, this.#name, "it is closed");
    return this.#queue;
  }

  async #until<T>(
    attempt: () => T | null,
    syscall: string,
    writable: boolean,
    timeoutMs = Number.POSITIVE_INFINITY,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    checkMilliseconds("timeoutMs", timeoutMs);
    if (signal?.aborted) throw abortError(signal);
    for (const deadline = performance.now() + timeoutMs; ; ) {
      const got = attempt();
      if (got !== null) return got;
      const ms = deadline - performance.now();
      if (ms <= 0) throw IpcError.of("ETIMEDOUT", syscall, this.#name);
      // In slices: closing the queue wakes no waiter.
      await readiness(this.#open(syscall), { ms: Math.min(ms, SLICE_MS), signal, writable });
    }
  }
}

/** How soon a wait notices that its object was closed, in milliseconds. */
const SLICE_MS = 100;

function entries(): string[] {
  try {
    return readdirSync(DIRECTORY);
  } catch (error) {
    const { errno } = error as NodeJS.ErrnoException;
    if (errno === undefined) throw error;
    const detail = `${DIRECTORY} is not mounted: mount -t mqueue none ${DIRECTORY}`;
    const missing = IpcError.of("ENOENT", "opendir", DIRECTORY, detail);
    throw -errno === missing.errno ? missing : new IpcError(-errno, "opendir", DIRECTORY);
  }
}

function flagsOf(role: keyof typeof FLAGS): number {
  if (!Object.hasOwn(FLAGS, role))
    throw new TypeError(`role must be "reader", "writer" or "both", not ${kindOf(role)}`);
  return FLAGS[role];
}

function bytesOf(message: Uint8Array | string): Uint8Array {
  if (typeof message === "string") return Buffer.from(message);
  if (message instanceof Uint8Array) return message;
  throw new TypeError(`a message must be a Uint8Array or a string, not ${kindOf(message)}`);
}
