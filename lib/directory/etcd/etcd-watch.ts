// One watch of etcd, on a channel of its own. What it tells are whole revisions, each once and in order:
//
//   1. The watch joins the parts of one answer before it tells any of it: a revision can be cut in between.
//   2. What lies before the next revision is dropped: etcd before 3.4.25 can go back in time (etcd#15520).
//   3. How far it has told is the revision of its last event, or of a notice of progress; the header of another answer may be ahead of events
//      that are still to come.
import type { ClientDuplexStream, ServiceError } from "@grpc/grpc-js";
import type { Channel } from "./channel.ts";
import { type Cluster, isOldToken } from "./cluster.ts";
import {
  EngineError,
  type EngineEvent,
  type EngineState,
  type Revision,
  type WatchEnd,
  type WatchListener,
} from "./engine.ts";
import { WATCH, type WatchRequest, type WatchResponse } from "./messages.ts";

/** Ms from the stream's beginning to the answer that the watch is there. */
const CREATE_MS = 3_000;
/** Events of one answer in parts: a transaction has at most a few thousand, a thousand revisions come together. */
const MAX_JOINED_EVENTS = 1_000_000;

export class EtcdWatch implements Disposable {
  readonly #cluster: Cluster;
  readonly #prefix: string;
  readonly #listener: WatchListener;
  /** The authoritative state, to know a restored backup by. */
  readonly #ask: () => Promise<EngineState>;
  #next: Revision;
  #channel: Channel | null = null;
  #stream: ClientDuplexStream<WatchRequest, WatchResponse> | null = null;
  #joined: EngineEvent[] = [];
  #timer: NodeJS.Timeout | null = null;
  #hasRenewed = false;
  #over = false;
  /** Of a stream that has been given up nothing is heard any more. */
  #round = 0;

  constructor(
    cluster: Cluster,
    ask: () => Promise<EngineState>,
    prefix: string,
    from: Revision,
    listener: WatchListener,
  ) {
    this.#cluster = cluster;
    this.#ask = ask;
    this.#prefix = prefix;
    this.#next = from;
    this.#listener = listener;
    void this.#start();
  }

  get isOver(): boolean {
    return this.#over;
  }

  /** The member does not answer other calls: a watch there may hear nothing, too. */
  memberLeft(member: string): void {
    if (this.#channel?.member === member)
      this.#end("lost", new EngineError("unknown", `etcd at ${member} does not answer`));
  }

  [Symbol.dispose](): void {
    this.#over = true;
    this.#drop();
  }

  async #start(): Promise<void> {
    const round = ++this.#round;
    try {
      const { channel, token } = await this.#cluster.ownChannel();
      if (this.#over) return channel.close();
      this.#channel = channel;
      const stream = channel.open(WATCH, token);
      this.#stream = stream;
      const current = () => !this.#over && this.#round === round;
      stream.on("data", (response: WatchResponse) => {
        if (current()) this.#receive(response, token);
      });
      stream.on("error", (error: ServiceError) => {
        if (current()) this.#failed(error, error.details, token);
      });
      stream.on("end", () => {
        if (current()) this.#end("lost", new EngineError("unknown", `etcd at ${channel.member} has ended the watch`));
      });
      this.#timer = setTimeout(() => {
        this.#cluster.suspect(channel.member);
        this.#end(
          "lost",
          new EngineError("unknown", `etcd at ${channel.member} begins no watch within ${CREATE_MS} ms`),
        );
      }, CREATE_MS);
      stream.write({ prefix: this.#prefix, from: this.#next });
    } catch (error) {
      if (!this.#over) this.#end("lost", error as Error);
    }
  }

  #receive(response: WatchResponse, token: string | null): void {
    const { state, created, canceled, compactRevision, cancelReason, isFragment, events } = response;
    if (created) this.#settleTimer();
    if (compactRevision > 0) {
      const from = `${compactRevision}; asked from ${this.#next}`;
      this.#end("compacted", new EngineError("refused", `etcd remembers changes from revision ${from}`));
    } else if (canceled) this.#failed({ code: 0, message: cancelReason }, cancelReason || "canceled", token);
    else if (created) void this.#checkPast(state, this.#round);
    else if (events.length > 0 || this.#joined.length > 0 || isFragment) this.#join(events, isFragment, state);
    else {
      this.#next = Math.max(this.#next, state.revision + 1);
      this.#listener.progress(state);
    }
  }

  #join(events: readonly EngineEvent[], isFragment: boolean, { cluster }: EngineState): void {
    for (const event of events) if (event.revision >= this.#next) this.#joined.push(event);
    if (isFragment) {
      if (this.#joined.length > MAX_JOINED_EVENTS) {
        this.#end("compacted", new EngineError("refused", `one answer has over ${MAX_JOINED_EVENTS} changes`));
      }
      return;
    }
    const whole = this.#joined;
    this.#joined = [];
    const last = whole.at(-1);
    if (last === undefined) return;
    this.#hasRenewed = false;
    this.#next = last.revision + 1;
    this.#listener.events(whole, { cluster, revision: last.revision });
  }

  /**
   * A watch from beyond the present is silent until then. A member may be behind; but if the whole cluster is, a backup has been restored, and
   * what happens now will never be heard.
   */
  async #checkPast({ revision }: EngineState, round: number): Promise<void> {
    if (revision >= this.#next - 1) return;
    const asked = this.#next;
    const state = await this.#ask().catch(() => null);
    if (state === null || this.#over || this.#round !== round || state.revision >= asked - 1) return;
    const reason = `etcd has gone back from revision ${asked - 1} to ${state.revision}: a backup has been restored`;
    this.#end("rewound", new EngineError("refused", reason));
  }

  #failed(error: { readonly code: number; readonly message: string }, reason: string, token: string | null): void {
    if (!this.#hasRenewed && isOldToken(error) && this.#cluster.renewable({ ...error, code: 16 }, token)) {
      this.#hasRenewed = true;
      this.#drop();
      void this.#start();
      return;
    }
    const member = this.#channel?.member ?? "?";
    this.#end(
      "lost",
      new EngineError("unknown", `etcd at ${member}: ${reason.replace(/^etcdserver: /, "")}`, { cause: error }),
    );
  }

  #end(why: WatchEnd, error: Error): void {
    if (this.#over) return;
    this.#over = true;
    this.#drop();
    this.#listener.ended(why, error);
  }

  #settleTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #drop(): void {
    this.#round++;
    this.#settleTimer();
    this.#joined = [];
    const stream = this.#stream;
    this.#stream = null;
    if (stream !== null) {
      stream.on("error", () => {}); // its own cancelling
      stream.cancel();
    }
    this.#channel?.close();
    this.#channel = null;
  }
}
