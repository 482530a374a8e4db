// `ptalk when PID NAME [TEXT…]` and `ptalk when NAME -- COMMAND…`: tells somebody that a program has ended.
import { Command } from "commander";
import { TalkError } from "../../base/errors.ts";
import { type CommandContext, commandContext, ownName } from "../command-context.ts";
import { CommandEnded } from "../command-ended.ts";
import { describeError, note, printJson } from "../output.ts";
import { checkRecipients, send } from "../send.ts";
import { watchShutdown } from "../shutdown.ts";
import { span } from "../times.ts";
import { runCommand } from "../when/child.ts";
import { type End, endOf } from "../when/watched.ts";

const HELP = `
PID may be anybody's process: NAME gets TEXT, or how the process ended as far as the kernel tells. With -- COMMAND, ptalk runs it,
passes signals on, and ends with its status (128+N by a signal); a notice that failed is one line on stderr.`;

/** Characters of a command line in a notice: enough to know it by. */
const COMMAND_SHOWN = 200;

export function command(): Command {
  return new Command("when")
    .usage("PID NAME[,NAME...] [TEXT...] | NAME[,NAME...] -- COMMAND...")
    .description("Tells NAME when a process, or COMMAND, has ended.")
    .argument("<words...>", "PID and NAME, or NAME")
    .option("--timeout <time>", "give the notice up after this long (default: 10s)")
    .addHelpText("after", HELP)
    .action(run);
}

async function run(words: string[], _options: unknown, command: Command): Promise<void> {
  const { names, pid, text, program } = parse(words);
  checkRecipients(names);
  const context = await commandContext(command);
  ownName(context.config); // reports a mistake now, not in hours
  if (program !== null) await runAndTell(names, program, context);
  else await waitAndTell(pid, names, text, context);
}

interface Line {
  readonly names: string;
  readonly pid: number;
  readonly text: string;
  /** The words behind "--". */
  readonly program: readonly string[] | null;
}

/** @param words the operands, without the "--" that told them apart */
function parse(words: readonly string[]): Line {
  const args = process.argv.slice(2);
  const separator = args.indexOf("--");
  const behind = separator === -1 ? 0 : args.length - separator - 1;
  const before = words.slice(0, words.length - behind);
  const [first = "", second, ...text] = before;
  if (before.length === 1) {
    if (behind === 0) {
      const missing = separator === -1 ? "whom to tell, or a command behind --" : "the command behind --";
      throw TalkError.usage(`${missing} is missing: ptalk when PID NAME, or ptalk when NAME -- COMMAND`);
    }
    return { names: first, pid: 0, text: "", program: words.slice(1) };
  }
  if (second === undefined) throw TalkError.usage("write ptalk when PID NAME, or ptalk when NAME -- COMMAND");
  if (!/^\d{1,10}$/.test(first)) {
    throw TalkError.usage(`${JSON.stringify(first)} is no process number: ptalk when PID NAME [TEXT...]`);
  }
  return { names: second, pid: Number(first), text: [...text, ...words.slice(before.length)].join(" "), program: null };
}

async function waitAndTell(pid: number, names: string, text: string, context: CommandContext): Promise<void> {
  let end: End;
  {
    using life = watchShutdown();
    end = await endOf(pid, life.signal);
  }
  if (context.json) await printJson({ type: "ended", ...end });
  await send(names, [text === "" ? sentence(end, `${programOf(end)} (${pid})`) : text], context);
}

async function runAndTell(names: string, program: readonly string[], context: CommandContext): Promise<void> {
  const outcome = await runCommand(program);
  if ("failure" in outcome) {
    note(outcome.failure);
    throw new CommandEnded("the command did not run", outcome.exitCode);
  }
  try {
    if (context.json) await printJson({ type: "ended", ...outcome.end });
    const shown = outcome.end.command ?? "";
    const name = shown.length > COMMAND_SHOWN ? `${shown.slice(0, COMMAND_SHOWN)}…` : shown;
    await send(names, [sentence(outcome.end, name)], context, { quiet: true });
  } catch (error) {
    if (!(error instanceof CommandEnded)) note(describeError(error).message);
  }
  throw new CommandEnded("the command has ended", outcome.exitCode);
}

function sentence({ status, signal, ms }: End, what: string): string {
  const how = signal !== null ? `was ended by ${signal}` : "has ended";
  const result = status === null ? "" : ` with status ${status}`;
  return `${what} ${how}${result} after ${span(ms)}`;
}

/** Its name alone: the other words of somebody's command line may be secrets. */
function programOf({ command }: End): string {
  const [file = ""] = command?.split(" ") ?? [];
  return file.split("/").pop() || "process";
}
