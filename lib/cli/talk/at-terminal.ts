// A conversation at a person's terminal: lines come from the editor, one after the other, while everything else goes on.
import type { TalkConnection } from "../../client/types.ts";
import { agentOf, unreadOf } from "../agent/takeover.ts";
import { milliseconds } from "../command-context.ts";
import type { Config } from "../config.ts";
import { keepHistory } from "../connect.ts";
import { joinAsSelf } from "../own-name.ts";
import type { Shutdown } from "../shutdown.ts";
import { Conversation } from "./conversation.ts";
import { Idle } from "./idle.ts";
import { type TerminalView, terminalView } from "./terminal-view.ts";
import { startHook, withClient } from "./with-client.ts";

/** Names of one answer, at most. */
const ANSWER_NAMES = 100;

/** Earlier messages shown when a conversation begins: enough to know where one was. */
const PAST_SHOWN = 5;

export interface TalkOptions {
  /** The name that is asked for. */
  readonly name: string;
  readonly partner: string | null;
}

export async function talkAtTerminal({ name, partner }: TalkOptions, config: Config, life: Shutdown): Promise<void> {
  const lines = new LineQueue();
  let view: TerminalView | undefined;
  let opened = (): void => {};
  const ready = new Promise<void>((resolve) => {
    opened = resolve;
  });
  const agent = agentOf(name, config.server);
  const { client, requested } = await joinAsSelf(config, {
    isNumbered: true,
    replace: agent !== undefined,
    signal: life.signal,
    startServer: !config.serverConfigured,
    fold: config.history,
    history: keepHistory(config, (message) => {
      const said = ready.then(() => view?.error(new Error(message)));
      said.catch(() => {});
    }),
    receiveAfter: ready,
    deliver: (message) => view?.message(message),
  });
  await withClient(client, agent, async (ended) => {
    const signal = AbortSignal.any([life.signal, ended]);
    signal.addEventListener("abort", () => lines.fail(signal.reason), { once: true });
    using idle = new Idle({ tell: (state) => void client.setStatus(state).catch(() => {}) }); // the next one tells it
    using _typing = onTyping(() => idle.typed());
    using shown = terminalView({
      namesThatBegin: (beginning) => {
        if (client.hearsAll) return null;
        return client.names(beginning).then((names) => ({ names, areAll: names.length < ANSWER_NAMES }));
      },
      onStatus: (state) => (state === "away" ? idle.away() : idle.back()),
      onLine: (line) => lines.push(line),
      onEnd: () => lines.end(),
      timeFormat: config.timeFormat,
      bell: config.bell,
    });
    view = shown;
    using _hook = await startHook(client, config, (text) => shown.error(new Error(text)));
    shown.registered(client, requested);
    if (agent !== undefined) shown.missed(await unreadOf(agent, client));
    opened();
    const conversation = new Conversation(client, shown, {
      signal,
      timeoutMs: milliseconds(config.timeout),
      partner,
      past: config.history ? PAST_SHOWN : 0,
      asksWhenOff: true,
    });
    learnNames(client, shown);
    for await (const line of lines) if (!(await conversation.take(line))) break;
    conversation.leave();
    await conversation.drain();
  });
}

// For Tab and the first line, so a server that cannot answer now is no reason to say anything.
function learnNames(client: TalkConnection, view: TerminalView): void {
  const learn = async (): Promise<void> => {
    if (!client.hearsAll) {
      view.crowd(await client.count());
      return;
    }
    const clients = await client.all();
    view.know(clients.map(({ name }) => name));
    view.crowd(clients.length);
  };
  learn().catch(() => {});
}

function onTyping(typed: () => void): Disposable {
  process.stdin.on("data", typed);
  return { [Symbol.dispose]: () => process.stdin.off("data", typed) };
}

/** Lines entered while an earlier one is still being obeyed; more than a person enters are dropped. */
const LINES_LIMIT = 1000;

class LineQueue implements AsyncIterable<string> {
  readonly #lines: string[] = [];
  #ended = false;
  #failure: { readonly reason: unknown } | undefined;
  #wake = (): void => {};

  push(line: string): void {
    if (this.#lines.length < LINES_LIMIT) this.#lines.push(line);
    this.#wake();
  }
  end(): void {
    this.#ended = true;
    this.#wake();
  }
  fail(reason: unknown): void {
    this.#failure = { reason };
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure.reason;
      const line = this.#lines.shift();
      if (line !== undefined) yield line;
      else if (this.#ended) return;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}
