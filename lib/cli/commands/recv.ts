// `ptalk recv`: prints the messages that arrive, for scripts. A message counts as delivered once it is written to
// stdout. With --files it takes files too; each counts like a message once it is on the disk.
import { statSync } from "node:fs";
import { Command, Option } from "commander";
import { TalkError } from "../../base/errors.ts";
import { validateRoom } from "../../base/names.ts";
import { seconds } from "../../base/seconds.ts";
import { NotShown } from "../../client/not-shown.ts";
import type { FileOffer, TalkConnection, TalkMessage } from "../../client/types.ts";
import { withAdvice } from "../advice.ts";
import { commandContext, milliseconds } from "../command-context.ts";
import { CommandEnded } from "../command-ended.ts";
import { Deadline } from "../deadline.ts";
import { type FileNews, fileJson, filePath, fileText, offerNews, takeFile } from "../files.ts";
import { messageLines } from "../format.ts";
import { messageJson, receiptJson, registeredJson, roomJson } from "../json.ts";
import { byteSize, positiveInteger } from "../options.ts";
import { note, print, printJson } from "../output.ts";
import { joinAsSelf } from "../own-name.ts";
import { watchShutdown } from "../shutdown.ts";
import { painter } from "../style.ts";
import { ServerNews } from "../talk/server-news.ts";
import { metText, receiptText, roomText, runnerOf, welcome } from "../talk/texts.ts";

const HELP = `
Exit status 75: the time was up before COUNT messages or files (without --count: any) had come; 69: no lookup server answered in it. A file that comes is written to
the state directory first, and gets its name in DIR once it is whole; where that name is taken, "name (2)". An interrupted transfer goes on where it
was when its sender sends it again.`;

interface Options {
  readonly count?: number;
  readonly timeout?: string;
  readonly files?: string;
  readonly filesFrom: "verified" | "anyone";
  readonly maxSize?: number;
}

export function command(): Command {
  return new Command("recv")
    .description("Prints the messages that arrive, one after the other.")
    .argument("[rooms...]", "#ROOM: enter it, and print what is said there too")
    .option("--count <n>", "end after N messages", positiveInteger)
    .option("--timeout <time>", "end after this long")
    .option("--files <dir>", "take the files that are offered, into this folder")
    .addOption(
      new Option("--files-from <who>", "whose files are taken").choices(["verified", "anyone"]).default("verified"),
    )
    .option("--max-size <size>", "decline larger files (default: 1G)", byteSize)
    .addHelpText("after", HELP)
    .action(run);
}

async function run(
  words: string[],
  { count, timeout, files, filesFrom, maxSize }: Options,
  command: Command,
): Promise<void> {
  const { config, json } = await commandContext(command);
  const rooms = words.flatMap((word) => word.split(",")).map(validateRoom);
  const directory = files === undefined ? undefined : existingFolder(files);
  const paint = painter(process.stdout);
  using life = watchShutdown();
  using news = new ServerNews(note);
  // Only the option: the setting of that name is how long a message may take.
  const deadline = new Deadline(timeout === undefined ? undefined : milliseconds(config.timeout));
  const inbox = new MessagePrinter(count ?? Number.POSITIVE_INFINITY, (message) =>
    (json ? printJson(messageJson(message)) : print(messageLines(message, paint).join("\n"))).catch(
      (error: unknown) => {
        throw error instanceof CommandEnded ? new NotShown() : error; // stdout has no reader: another may show it
      },
    ),
  );
  const { client, requested } = await joinAsSelf(config, {
    signal: deadline.with(life.signal),
    startServer: !config.serverConfigured,
    deliver: (message) => inbox.deliver(message),
  }).catch((error: unknown) => {
    throw deadline.over && !life.signal.aborted ? neverThere(config.server, deadline) : error;
  });
  let awaySince: number | null = null;
  client.on("server", ({ state }) => {
    if (state === "lost") awaySince = performance.now();
    if (state === "back") awaySince = null;
  });
  try {
    if (json) await printJson(registeredJson(client, requested));
    else {
      note(welcomeReceiver(client));
      const runner = runnerOf(client);
      if (runner !== null) note(runner);
    }
    client.on("server", (event) => news.hear(event, client.standing.transport === "unix"));
    client.on("refused", (error) => note(withAdvice(error)));
    if (!json) client.on("met", (event) => note(metText(event)));
    client.on("receipt", (event) => {
      if (json) printJson(receiptJson(event)).catch(() => {});
      else note(receiptText(event));
    });
    client.on("error", (error) => inbox.fail(error));
    if (directory !== undefined) {
      const show = (news: FileNews): Promise<void> => showFile(news, json);
      client.on("file", (offer) => {
        if (filesFrom === "verified" && !offer.verified) offer.decline("it takes files of verified senders only");
        else void inbox.takeFile(offer, { directory, maxSize, signal: life.signal, show });
      });
    }
    client.on("room", (event) => {
      if (json)
        printJson(roomJson(event)).catch(() => {}); // stdout's own "error" ends the command
      else note(roomText(event));
    });
    for (const room of rooms) await client.join(room);
    inbox.open();
    await untilDone(inbox, deadline, { signal: life.signal, awaySince: () => awaySince });
  } finally {
    await client.close();
  }
}

/** @throws TalkError usage */
function existingFolder(text: string): string {
  const path = filePath(text);
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw TalkError.usage(`--files: ${JSON.stringify(text)} is no folder`);
  }
  return path;
}

/** What has come is the output; what has not is a remark. */
async function showFile(news: FileNews, json: boolean): Promise<void> {
  if (json) await printJson(fileJson(news));
  else if (news.state === "done") await print(fileText(news) ?? "");
  else if (news.state === "failed" || news.state === "declined") note(fileText(news) ?? "");
}

interface TakeOptions {
  readonly directory: string;
  readonly maxSize: number | undefined;
  readonly signal: AbortSignal;
  readonly show: (news: FileNews) => Promise<void>;
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
    if (this.#count === Number.POSITIVE_INFINITY) return `${this.#received} messages`;
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
    if (this.#promised >= this.#count) throw new NotShown();
    this.#promised++;
    await this.#opened;
    await this.#output(message);
    this.#onReceived();
  }

  /** A file counts like a message; one that does not come leaves its place to another. */
  async takeFile(offer: FileOffer, { directory, maxSize, signal, show }: TakeOptions): Promise<void> {
    if (this.#promised >= this.#count) {
      offer.decline("it takes no more files");
      return;
    }
    this.#promised++;
    await this.#opened;
    let last = show(offerNews(offer, "offered"));
    const tell = (news: FileNews): void => {
      last = show(news);
      last.catch(() => {}); // stdout's own "error" ends the command
    };
    try {
      await takeFile(offer, directory, { signal, maxSize, show: tell });
      await last;
      this.#onReceived();
    } catch {
      this.#promised--;
    }
  }

  #onReceived(): void {
    this.#received++;
    if (this.#received >= this.#count) setImmediate(() => this.#settle.full()); // after the acknowledgement is under way
  }
}

interface Surroundings {
  readonly signal: AbortSignal;
  /** When the server went away, in monotonic milliseconds; null while it is there. */
  readonly awaySince: () => number | null;
}

async function untilDone(
  inbox: MessagePrinter,
  deadline: Deadline,
  { signal, awaySince }: Surroundings,
): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const ended = new Promise<void>((resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    if (signal.aborted) reject(signal.reason);
    const { timeoutMs } = deadline.left;
    if (timeoutMs === undefined) return;
    timer = setTimeout(() => {
      if (inbox.enoughAtTimeout) resolve();
      else reject(timeIsUp(inbox, deadline, awaySince()));
    }, timeoutMs);
  });
  try {
    await Promise.race([inbox.full, ended]);
  } finally {
    clearTimeout(timer);
  }
}

/** No message could have come: the server, where others find this client, never answered. */
const neverThere = (server: string, { totalMs = 0 }: Deadline): TalkError =>
  TalkError.unreachable(server, `no answer within ${seconds(totalMs)}`);

function timeIsUp({ progress }: MessagePrinter, { totalMs = 0 }: Deadline, awaySince: number | null): TalkError {
  const away = awaySince === null ? "" : `; the lookup server is away, for ${sinceText(awaySince)} now`;
  return new TalkError("timeout", `${progress} within ${seconds(totalMs)}${away}`);
}

/** "4 s": whole seconds, at least one. */
const sinceText = (at: number): string => `${Math.max(1, Math.round((performance.now() - at) / 1000))} s`;

function welcomeReceiver(client: TalkConnection): string {
  return welcome(client).replace(/;.*/, "; waiting for messages");
}
