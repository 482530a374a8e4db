// The directory in shared memory with a process for each worker: real locks between them, and everything by way of messages.
import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import type {
  Claim,
  ConnectionPlace,
  Directory,
  DirectoryConfig,
  DirectoryEvent,
  DirectoryHost,
  DirectoryPage,
  DirectoryRow,
  EntryChanges,
  Interest,
  NameBinding,
  Registered,
  RegisterRequest,
} from "../../../lib/directory/directory.ts";
import { DirectoryError, type DirectoryErrorCode, type NameHolder } from "../../../lib/directory/directory-error.ts";
import { DirectoryEntry, type PackedEntry } from "../../../lib/directory/entry.ts";
import { type NameRight, NO_RIGHT } from "../../../lib/directory/name-right.ts";
import { EventCarrier } from "./event-carrier.ts";
import { Random } from "./random.ts";
import { type Implementation, makeShmHost, type World } from "./world.ts";

const WORKER = join(import.meta.dirname, "../../fixtures/directory/worker.js");

interface PlainRow extends Omit<DirectoryRow, "entry"> {
  readonly entry: PackedEntry;
  readonly lastLookupAt: number | null;
}

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: {
    readonly kind: string;
    readonly message: string;
    readonly code: DirectoryErrorCode;
    readonly holder: NameHolder | null;
    readonly isRefusal?: boolean;
  };
  readonly count?: number;
}

type FromWorker =
  | Answer
  | { readonly publish: readonly DirectoryEvent[] }
  | { readonly watch: number; readonly events: readonly DirectoryEvent[] };

/** A process that serves one directory after the other. */
class WorkerProcess {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  readonly watches = new Map<number, (events: readonly DirectoryEvent[]) => void>();
  publish: (events: readonly DirectoryEvent[]) => void = () => {};
  count = 0;
  #last = 0;

  constructor() {
    this.#child = fork(WORKER, { stdio: "inherit" });
    this.#child.on("message", (message) => this.#receive(message as FromWorker));
    this.#child.on("exit", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("the worker process has ended"));
    });
    this.#child.unref();
    this.#child.channel?.unref();
  }

  call<T>(method: string, ...args: readonly unknown[]): Promise<T> {
    if (!this.#child.connected) return Promise.reject(new Error("the worker process has ended"));
    const id = ++this.#last;
    this.#child.send({ id, method, args, now: Date.now() });
    this.#child.channel?.ref();
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: (value) => resolve(value as T), reject });
    });
  }

  async end(): Promise<void> {
    if (!this.#child.connected) return;
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.disconnect();
    await ended;
  }

  #receive(message: FromWorker): void {
    if ("publish" in message) this.publish(message.publish);
    else if ("watch" in message) this.watches.get(message.watch)?.(message.events);
    else this.#settle(message);
  }

  #settle(answer: Answer): void {
    const { id, result, error, count } = answer;
    if (count !== undefined) this.count = count;
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (this.#waiting.size === 0) this.#child.channel?.unref();
    if (error === undefined) waiting?.resolve(result);
    else if (error.kind === "RangeError") waiting?.reject(new RangeError(error.message));
    else if (error.kind !== "directory") waiting?.reject(new Error(`${error.kind}: ${error.message}`));
    else {
      const options = {
        ...(error.holder === null ? {} : { holder: error.holder }),
        isRefusal: error.isRefusal ?? true,
      };
      waiting?.reject(new DirectoryError(error.code, error.message, options));
    }
  }
}

/** The directory of a worker process, from outside. */
class RemoteDirectory implements Directory {
  readonly replies = null;
  readonly capacity: number;
  readonly #worker: WorkerProcess;
  #live: ReadonlySet<number> = new Set();
  #lastWatch = 0;
  #closed = false;

  constructor(worker: WorkerProcess, capacity: number) {
    this.#worker = worker;
    this.capacity = capacity;
    worker.watches.clear();
  }

  get count(): number {
    return this.#worker.count;
  }

  register(request: RegisterRequest): Promise<Registered> {
    return this.#worker.call("register", request);
  }
  update(claim: Claim, changes: EntryChanges): Promise<Claim> {
    return this.#worker.call("update", claim, changes);
  }
  remove(claim: Claim): Promise<boolean> {
    return this.#worker.call("remove", claim);
  }
  async find(name: string): Promise<DirectoryRow | null> {
    return rowOf(await this.#worker.call("find", name));
  }
  async own(claim: Claim): Promise<DirectoryRow | null> {
    return rowOf(await this.#worker.call("own", claim));
  }
  async page(cursor: number, limit: number): Promise<DirectoryPage> {
    const page = await this.#worker.call<{ cursor: number; rows: PlainRow[] }>("page", cursor, limit);
    return { cursor: page.cursor, rows: page.rows.map((row) => rowOf(row) as DirectoryRow) };
  }
  async members(room: string): Promise<readonly DirectoryRow[]> {
    const rows = await this.#worker.call<PlainRow[]>("members", room);
    return rows.map((row) => rowOf(row) as DirectoryRow);
  }
  names(prefix: string, limit: number): Promise<readonly string[]> {
    return this.#worker.call("names", prefix, limit);
  }
  ownerOf(name: string): Promise<string | null> {
    return this.#worker.call("ownerOf", name);
  }
  bindingOf(name: string): Promise<NameBinding | null> {
    return this.#worker.call("bindingOf", name);
  }
  bind(name: string, key: string, right: NameRight = NO_RIGHT): Promise<void> {
    return this.#worker.call("bind", name, key, right);
  }
  release(name: string): Promise<boolean> {
    return this.#worker.call("release", name);
  }

  watch(interest: Interest, listener: (events: readonly DirectoryEvent[]) => void): Disposable {
    const id = ++this.#lastWatch;
    this.#worker.watches.set(id, listener);
    void this.#worker.call("watch", id, interest);
    return {
      [Symbol.dispose]: () => {
        this.#worker.watches.delete(id);
        void this.#worker.call("unwatch", id);
      },
    };
  }

  lookedUp(claim: Claim, at: number): void {
    if (!this.#closed) void this.#worker.call("lookedUp", claim, at);
  }
  deliver(events: readonly DirectoryEvent[]): void {
    void this.#worker.call("deliver", events);
  }
  setLiveWorkers(ids: Iterable<number>): void {
    this.#live = new Set(ids);
    void this.#worker.call("setLiveWorkers", [...this.#live]);
  }
  reopen(): Promise<void> {
    return this.#worker.call("reopen");
  }
  isLive({ worker }: ConnectionPlace): boolean {
    return this.#live.has(worker);
  }

  close(): void {
    if (!this.#closed) void this.#worker.call("close");
    this.#closed = true;
  }
}

function rowOf(row: PlainRow | null): DirectoryRow | null {
  if (row === null) return null;
  const { entry, lastLookupAt, claimId, version, place } = row;
  return { entry: new DirectoryEntry(entry, lastLookupAt), claimId, version, place };
}

class ProcessWorld implements World {
  readonly #host: DirectoryHost;
  readonly #carrier: EventCarrier;
  readonly #open: { readonly worker: WorkerProcess; readonly directory: RemoteDirectory }[] = [];
  readonly #remove: () => void;

  constructor(host: DirectoryHost, seed: number, remove: () => void) {
    this.#host = host;
    this.#carrier = new EventCarrier(new Random(seed));
    this.#remove = remove;
  }

  async open(id: number): Promise<Directory> {
    const index = this.#open.length;
    processes[index] ??= new WorkerProcess();
    const worker = processes[index];
    worker.publish = (events) => {
      this.#host.observe(id, events);
      this.#carrier.publish(id, events);
    };
    await worker.call("open", this.#host.config as DirectoryConfig);
    const directory = new RemoteDirectory(worker, this.#host.capacity);
    this.#carrier.add(id, directory);
    this.#open.push({ worker, directory });
    return directory;
  }

  async settled(): Promise<void> {
    const settle = () => Promise.all(this.#open.map(({ worker }) => worker.call("settle")));
    await settle();
    await this.#carrier.idle();
    await settle();
  }

  async close(): Promise<void> {
    await this.settled();
    for (const { directory } of this.#open) directory.close();
    await Promise.all(this.#open.map(({ worker }) => worker.call("settle").catch(() => {})));
    await this.#host.close();
    this.#remove();
  }
}

/** They serve all worlds, one after the other. */
const processes: WorkerProcess[] = [];

export async function endProcesses(): Promise<void> {
  await Promise.all(processes.splice(0).map((worker) => worker.end()));
}

export const severalProcesses: Implementation = {
  name: "in shared memory, a process for each worker",
  isLocal: true,
  async make(options) {
    const { host, remove } = await makeShmHost(options);
    return new ProcessWorld(host, options.seed, remove);
  },
};
