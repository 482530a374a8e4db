// `ptalk history [NAME]`: what was said, from the journals of all programs of this user. No server is asked.
import { Command } from "commander";
import { TalkError } from "../../base/errors.ts";
import { validateTarget } from "../../base/names.ts";
import { readHistory } from "../../store/history/read.ts";
import { type HistoryRecord, historyJson } from "../../store/history/record.ts";
import { historyFolder } from "../../store/state-paths.ts";
import { commandContext } from "../command-context.ts";
import type { Config } from "../config.ts";
import { jsonLine, note, print } from "../output.ts";
import { page, pagerOf } from "../pager.ts";
import { watchShutdown } from "../shutdown.ts";
import { readSince } from "../since.ts";
import { painter, plain } from "../style.ts";
import { marksFor } from "../talk/marks.ts";
import { PastLines } from "../talk/past.ts";

const HELP = `
TIME is 2h (ago), 14:05 (today), 2026-11-28, "2026-11-28 14:05", or ISO 8601. RE is a regular expression of JavaScript.
At a terminal the output goes through $PAGER, else less.`;

interface Options {
  readonly since?: string;
  readonly grep?: string;
  readonly follow?: boolean;
}

export function command(): Command {
  return new Command("history")
    .description("Prints what was said, by all programs of this user, oldest first.")
    .argument("[name]", "only what was said with NAME, or in #ROOM")
    .option("--since <time>", "from then on")
    .option("--grep <re>", "only texts that match")
    .option("--follow", "go on with what is said from now on")
    .addHelpText("after", HELP)
    .action(run);
}

async function run(name: string | undefined, options: Options, command: Command): Promise<void> {
  const { config, json } = await commandContext(command);
  if (name !== undefined) validateTarget(name);
  const { follow = false } = options;
  using life = watchShutdown();
  const { signal } = life;
  let broken = 0;
  const query = {
    with: name,
    since: options.since === undefined ? undefined : readSince(options.since),
    grep: options.grep === undefined ? undefined : readPattern(options.grep),
    follow,
    signal,
    onBroken: (lines: number) => {
      broken += lines;
      if (follow) tellBroken(lines);
    },
  };
  const records = (): AsyncIterable<HistoryRecord> => readHistory(historyFolder(config.stateDir), query);
  if (json) for await (const record of records()) await print(jsonLine(historyJson(record)));
  else if (follow) for await (const lines of printed(records(), config, false)) await print(lines);
  else {
    const pager = process.stdout.isTTY ? pagerOf(process.env) : null;
    await page(pager, () => {
      broken = 0;
      return printed(records(), config, pager !== null && !pager.isColoured);
    });
  }
  if (broken > 0 && !follow) tellBroken(broken);
  signal.throwIfAborted();
}

async function* printed(
  records: AsyncIterable<HistoryRecord>,
  { timeFormat }: Config,
  isPlain: boolean,
): AsyncGenerator<string, void> {
  const paint = isPlain ? plain : painter(process.stdout);
  const lines = new PastLines({ timeFormat, paint, marks: marksFor(process.env) });
  for await (const record of records) yield lines.of(record).join("\n");
}

function tellBroken(lines: number): void {
  note(`${lines} broken ${lines === 1 ? "line" : "lines"} in the history left out`);
}

/** @throws TalkError usage */
function readPattern(text: string): RegExp {
  try {
    return new RegExp(text, "u");
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw TalkError.usage(`--grep: ${reason}`);
  }
}
