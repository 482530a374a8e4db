// `ptalk recv`: prints the messages that arrive, for scripts. A message counts as delivered once stdout has it.
import { Command } from "commander";
import { TalkError } from "../../base/errors.ts";
import type { TalkConnection, TalkMessage } from "../../client/types.ts";
import { commandContext, milliseconds } from "../command-context.ts";
import { Deadline } from "../deadline.ts";
import { messageLines } from "../format.ts";
import { messageJson, registeredJson } from "../json.ts";
import { positiveInteger } from "../options.ts";
import { note, print, printJson } from "../output.ts";
import { joinAsSelf } from "../own-name.ts";
import { watchShutdown } from "../shutdown.ts";
import { painter } from "../style.ts";
import { ServerNews } from "../talk/server-news.ts";
import { welcome } from "../talk/texts.ts";

const HELP = `
Exit status 75: the time was up before COUNT messages (without --count: any message) had come.`;

interface Options {
  readonly count?: number;
  readonly timeout?: string;
}

export function command(): Command {
  return new Command("recv")
    .description("Prints the messages that arrive, one after the other.")
    .option("--count <n>", "end after N messages", positiveInteger)
    .option("--timeout <time>", "end after this long")
    .addHelpText("after", HELP)
    .action(run);
}

async function run({ count, timeout }: Options, command: Command): Promise<void> {
  const { config, json } = await commandContext(command);
  const paint = painter(process.stdout);
  using life = watchShutdown();
  using news = new ServerNews(note);
  // Only the option: the setting of that name is how long a message may take.
  const deadline = new Deadline(timeout === undefined ? undefined : milliseconds(config.timeout));
  const inbox = new MessagePrinter(count ?? Number.POSITIVE_INFINITY, (message) =>
    json ? printJson(messageJson(message)) : print(messageLines(message, paint).join("\n")),
  );
  const { client, requested } = await joinAsSelf(config, {
    signal: deadline.with(life.signal),
    startServer: !config.serverConfigured,
    deliver: (message) => inbox.deliver(message),
  }).catch((error: unknown) => {
    throw deadline.over && !life.signal.aborted ? timeIsUp(inbox, deadline) : error;
  });
  try {
    if (json) await printJson(registeredJson(client, requested));
    else note(welcomeReceiver(client));
    client.on("server", (event) => news.hear(event));
    client.on("refused", ({ message }) => note(message));
    client.on("error", (error) => inbox.fail(error));
    inbox.open();
    await untilDone(inbox, deadline, life.signal);
  } finally {
    await client.close();
  }
}

/** Takes messages in order, prints each, and knows when there are enough. */
class MessagePrinter {
  /** Fulfilled when `count` messages are printed. */
  readonly full: Promise<void>;
  readonly #count: number;
  readonly #output: (message: TalkMessage) => Promise<void>;
  readonly #opened: Promise<void>;
  #settle = { open: () => {}, full: () => {}, fail: (_: Error) => {} };
  #received = 0;
  #promised = 0;

  constructor(count: number, output: (message: TalkMessage) => Promise<void>) {
    this.#count = count;
    this.#output = output;
    this.#opened = new Promise((open) => {
      this.#settle.open = open;
    });
    this.full = new Promise((full, fail) => {
      this.#settle.full = full;
      this.#settle.fail = fail;
    });
  }

  /** Without a count, whatever has come by the end of the time is enough, as long as it is something. */
  get enoughAtTimeout(): boolean {
    return this.#count === Number.POSITIVE_INFINITY && this.#received > 0;
  }

  /** "2 of 3 messages" */
  get progress(): string {
    if (this.#received === 0) return "no message";
    return `${this.#received} of ${this.#count} messages`;
  }

  /** From here on messages are printed: what comes earlier waits for the line that says who we are. */
  open(): void {
    this.#settle.open();
  }

  fail(error: Error): void {
    this.#settle.fail(error);
  }

  /** Rejects what comes after the last one wanted: its sender must not believe that anybody read it. */
  async deliver(message: TalkMessage): Promise<void> {
    if (this.#promised >= this.#count) throw TalkError.closed("the receiver");
    this.#promised++;
    await this.#opened;
    await this.#output(message);
    this.#received++;
    if (this.#received >= this.#count) setImmediate(() => this.#settle.full()); // after the acknowledgement is under way
  }
}

async function untilDone(inbox: MessagePrinter, deadline: Deadline, signal: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const ended = new Promise<void>((resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    if (signal.aborted) reject(signal.reason);
    const { timeoutMs } = deadline.left;
    if (timeoutMs === undefined) return;
    timer = setTimeout(() => {
      if (inbox.enoughAtTimeout) resolve();
      else reject(timeIsUp(inbox, deadline));
    }, timeoutMs);
  });
  try {
    await Promise.race([inbox.full, ended]);
  } finally {
    clearTimeout(timer);
  }
}

const timeIsUp = ({ progress }: MessagePrinter, { totalMs = 0 }: Deadline): TalkError =>
  new TalkError("timeout", `${progress} within ${totalMs / 1000} s`);

function welcomeReceiver(client: TalkConnection): string {
  return welcome(client).replace(/;.*/, "; waiting for messages");
}
