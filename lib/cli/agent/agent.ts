// An agent: a user who is on without a terminal. It keeps the name, writes what comes into the history, and runs `on-message`.
//
//  1. It registers the name, and says so in shared memory (AgentSegment).
//  2. Each message is confirmed once it is in the history, on the disk; then it counts as unread.
//  3. A terminal that takes the name over (REPLACE) ends the agent's connection. What had arrived is confirmed first;
//     the terminal gets what comes later. The agent then says that it waits, and the terminal shows the unread
//     messages.
//  4. It takes the name back when the terminal asks for that (SIGUSR2) as it leaves, or else when the terminal's process has gone.
import { setTimeout as sleep } from "node:timers/promises";
import { backoffMs } from "../../base/async.ts";
import { TalkError } from "../../base/errors.ts";
import { foldName } from "../../base/names.ts";
import { haveServerInCommon } from "../../base/server-address.ts";
import type { TalkConnection, TalkMessage } from "../../client/types.ts";
import { processExit, sigaction } from "../../ipc/index.ts";
import { AgentSegment } from "../../presence/agent-segment.ts";
import { listLocal } from "../../presence/local-list.ts";
import { withAdvice } from "../advice.ts";
import type { Config } from "../config.ts";
import { connectClient, keepHistory } from "../connect.ts";
import { startHook } from "../talk/with-client.ts";
import { TAKE_BACK } from "./takeover.ts";

/**
 * Pauses between attempts to get the name while a terminal holds it whose process is not visible: on another host, say.
 */
const AGAIN = { firstMs: 200, maxMs: 5_000 };
/** Milliseconds between two reads of the user's ignore list. */
const IGNORED_EVERY_MS = 1_000;

export interface AgentOptions {
  readonly name: string;
  /** Ends the agent. */
  readonly signal: AbortSignal;
  /** A line for the log. */
  readonly say: (text: string) => void;
  /** The agent holds the name, or waits for the terminal that holds it. */
  readonly onReady: (state: "on" | "waiting", server: string) => void;
}

/** Runs until the signal is aborted, or the name is lost for good. @throws as connectClient(); the signal's reason */
export async function runAgent(config: Config, options: AgentOptions): Promise<void> {
  using agent = new Agent(config, options);
  await agent.run();
}

class Agent implements Disposable {
  readonly #config: Config;
  readonly #options: AgentOptions;
  #segment: AgentSegment | undefined;
  /** Unread messages by the sender's folded name, in the order of their last. */
  readonly #unread = new Map<string, { readonly from: string; count: number; readonly since: number }>();
  readonly #takeBack = new Signalled();
  readonly #claim: Disposable;

  constructor(config: Config, options: AgentOptions) {
    this.#config = config;
    this.#options = options;
    this.#claim = sigaction(TAKE_BACK, () => this.#takeBack.set());
  }

  [Symbol.dispose](): void {
    this.#claim[Symbol.dispose]();
    this.#segment?.[Symbol.dispose]();
  }

  async run(): Promise<void> {
    let isReady = false;
    const ready = (state: "on" | "waiting", server: string): void => {
      this.#tell(state, server);
      if (!isReady) this.#options.onReady(state, server);
      isReady = true;
    };
    for (let attempt = 0; ; attempt++) {
      try {
        await this.#hold(({ server }) => {
          ready("on", server);
          attempt = 0;
        });
      } catch (error) {
        this.#options.signal.throwIfAborted();
        const terminal = isTaken(error) ? this.#terminal() : undefined;
        if (!isReady && terminal === undefined) throw error;
        if (!isTaken(error) && !isPassing(error)) throw error;
        if (terminal !== undefined) ready("waiting", terminal.server);
      }
      this.#segment?.update({ state: "waiting" });
      await this.#untilFree(attempt);
    }
  }

  /** Has the name, until another program of this user takes it. */
  async #hold(onHeld: (client: TalkConnection) => void): Promise<void> {
    const { name, signal, say } = this.#options;
    const client = await connectClient(this.#config, {
      name,
      signal,
      startServer: !this.#config.serverConfigured,
      unattended: true,
      replace: this.#takeBack.take(),
      history: keepHistory(this.#config, say),
    });
    try {
      const lost = new Promise<Error>((resolve) => client.on("error", resolve));
      using _hook = await startHook(client, this.#config, say);
      client.on("message", (message) => this.#onMessage(message));
      client.on("refused", (error) => say(withAdvice(error)));
      client.on("server", () => this.#segment?.update({ server: client.server }));
      client.setStatus("away").catch(() => {}); // a server without statuses
      onHeld(client);
      using _look = this.#watchIgnored(client);
      const error = await untilAborted(lost, signal);
      if (!isTaken(error)) throw error;
    } finally {
      await client.close(); // what has arrived is confirmed, nothing else
    }
  }

  #tell(state: "on" | "waiting", server: string): void {
    const { name } = this.#options;
    if (state === "on") this.#unread.clear(); // a terminal has shown what there was
    const facts = { state, server, ...this.#counted() };
    if (this.#segment === undefined) this.#segment = new AgentSegment({ name, startedAt: Date.now(), ...facts });
    else this.#segment.update(facts);
  }

  #onMessage({ from, at }: TalkMessage): void {
    const folded = foldName(from);
    const before = this.#unread.get(folded);
    this.#unread.delete(folded); // to the end
    this.#unread.set(folded, { from, count: (before?.count ?? 0) + 1, since: before?.since ?? at });
    this.#segment?.update(this.#counted());
  }

  #counted(): { unread: number; lastFrom: string | null; unreadSince: number | null } {
    const senders = [...this.#unread.values()];
    return {
      unread: senders.reduce((sum, { count }) => sum + count, 0),
      lastFrom: senders.at(-1)?.from ?? null,
      unreadSince: senders.length === 0 ? null : Math.min(...senders.map(({ since }) => since)),
    };
  }

  /** Drops the unread messages of senders that the user has ignored since, in any program. */
  #watchIgnored(client: TalkConnection): Disposable {
    const timer = setInterval(() => {
      if (this.#unread.size === 0) return;
      const ignored = client.ignored().filter((name) => this.#unread.delete(name));
      if (ignored.length > 0) this.#segment?.update(this.#counted());
    }, IGNORED_EVERY_MS).unref();
    return { [Symbol.dispose]: () => clearInterval(timer) };
  }

  /** Waits until it is worth another attempt: the terminal asks for it, or has gone, or some time has passed. */
  async #untilFree(attempt: number): Promise<void> {
    const { signal } = this.#options;
    const waiting = new AbortController();
    const either = AbortSignal.any([signal, waiting.signal]);
    const terminal = this.#terminal();
    const patience = sleep(backoffMs(attempt, AGAIN), undefined, { signal: either });
    const gone =
      terminal === undefined ? patience : processExit(terminal.pid, { signal: either }).catch(() => patience);
    try {
      await Promise.race([gone, this.#takeBack.once(either)]);
      signal.throwIfAborted();
    } finally {
      waiting.abort();
      for (const each of [patience, gone]) each.catch(() => {});
    }
  }

  /** Our user's other program with the name. */
  #terminal(): { readonly pid: number; readonly server: string } | undefined {
    const { name } = this.#options;
    const uid = process.geteuid?.();
    return listLocal().find(
      (entry) =>
        entry.uid === uid &&
        entry.pid !== process.pid &&
        haveServerInCommon(entry.server, this.#config.server) &&
        foldName(entry.name) === foldName(name),
    );
  }
}

/** Something that was asked for, and is taken once. */
class Signalled {
  #isSet = false;
  #wake = (): void => {};

  set(): void {
    this.#isSet = true;
    this.#wake();
  }
  take(): boolean {
    const was = this.#isSet;
    this.#isSet = false;
    return was;
  }
  once(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      if (this.#isSet) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }
}

async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    if (signal.aborted) reject(signal.reason);
  });
  return Promise.race([promise, aborted]);
}

const isTaken = (error: unknown): boolean => error instanceof TalkError && error.code === "name-taken";

/** The server may be there again. */
const isPassing = (error: unknown): boolean =>
  error instanceof TalkError && ["unreachable", "full", "protocol", "try-again"].includes(error.code);
