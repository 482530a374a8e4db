// `ptalk wall [--tty] TEXT…`: sends a message of the administrator to every user who is on, and says how many it has
// reached.
import { hostname } from "node:os";
import { Command } from "commander";
import { TalkError } from "../../base/errors.ts";
import type { WallResult } from "../../client/types.ts";
import { isRootUnknown } from "../../client/wall.ts";
import { MAX_KEYS } from "../../presence/local-layout.ts";
import { type CommandContext, commandContext, milliseconds, ownName } from "../command-context.ts";
import type { Config } from "../config.ts";
import { connectClient } from "../connect.ts";
import { Deadline } from "../deadline.ts";
import { note, print, printJson } from "../output.ts";
import { watchShutdown } from "../shutdown.ts";
import { readText } from "../stdin-text.ts";
import { type Login, logins } from "../wall/logins.ts";
import { writeToTerminals } from "../wall/terminals.ts";

const HELP = `
Without TEXT the message is read from stdin. Nobody can ignore it. Exit status 67: it has reached nobody.`;

const ROOT = 0;

export function command(): Command {
  return new Command("wall")
    .description(
      "Sends a message to everybody who is on, and says how many have it. Root may, and the server's --admins.",
    )
    .argument("[text...]", "the message; from stdin if left out")
    .option("--tty", "also onto the terminals of those who are logged in without ptalk, if they take messages")
    .option("--timeout <time>", "give up after this long (default: 10s)")
    .addHelpText("after", HELP)
    .action(run);
}

async function run(words: string[], { tty = false }: { readonly tty?: boolean }, command: Command): Promise<void> {
  const context = await commandContext(command);
  const isRoot = process.geteuid?.() === ROOT;
  if (!isRoot && !(await isAdministrator(context.config))) {
    throw TalkError.refused("only root and the server's administrators (serve --admins) write to everybody");
  }
  if (tty && !isRoot) throw TalkError.refused("only root writes onto the terminals of others");
  const name = ownName(context.config);
  const text = words.length > 0 ? words.join(" ") : await readText(process.stdin);
  if (text === "") throw TalkError.badData("the message is empty");
  using life = watchShutdown({ endsWithOutput: false });
  const { sent, users } = await sendToAll(name, text, context, life.signal);
  if (isRoot && isRootUnknown()) {
    note(
      `programs of root have used more than ${MAX_KEYS} keys on this host since the first of them came on, so receivers take ` +
        "this for a text of anybody: end them all, and write again",
    );
  }
  // Without the users that ptalk reaches: they would get it twice.
  const without = logins()?.filter(({ user }) => !users.has(user)) ?? null;
  const written = tty ? await writeToTerminals(linesOf(without), `${name}@${hostname()}`, text) : 0;
  const loggedIn = without && new Set(without.map(({ user }) => user)).size;
  const { json } = context;
  if (json) await printJson({ type: "wall", ...sent, loggedIn });
  else await print(summary(sent, loggedIn, tty ? written : null));
  if (sent.reached + written === 0) throw new TalkError("no-such-user", "the message has reached nobody");
}

const linesOf = (found: readonly Login[] | null): string[] => found?.flatMap(({ line }) => line ?? []) ?? [];

/** Without a server on the default address no user is on. */
async function sendToAll(
  name: string,
  text: string,
  { config }: CommandContext,
  signal: AbortSignal,
): Promise<{ sent: WallResult; users: ReadonlySet<string> }> {
  const deadline = new Deadline(milliseconds(config.timeout));
  try {
    const client = await connectClient(config, { name, register: "never", signal: deadline.with(signal) });
    try {
      const sent = await client.wall(text, { signal, ...deadline.left });
      return { sent, users: new Set((await client.list()).map(({ user }) => user)) };
    } finally {
      await client.close();
    }
  } catch (error) {
    if (signal.aborted || config.serverConfigured) throw error;
    if (!(error instanceof TalkError) || error.code !== "unreachable") throw error;
    note("no lookup server is on: nobody talks");
    return { sent: { id: null, reached: 0, of: 0 }, users: new Set() };
  }
}

/** Where no server is, nobody but root may. */
async function isAdministrator({ server, stateDir, insecure, ca }: Config): Promise<boolean> {
  const { ServerAdministration } = await import("../../client/administration.ts");
  try {
    await using administration = await ServerAdministration.connect({ server, stateDir, insecure, ca });
    return await administration.isAllowed();
  } catch (error) {
    if (error instanceof TalkError && error.code === "unreachable") return false;
    throw error;
  }
}

function summary({ reached, of }: WallResult, loggedIn: number | null, written: number | null): string {
  const parts = [`reached ${reached} of ${of} who are on`];
  if (loggedIn !== null) parts.push(`${loggedIn} logged in without ptalk`);
  if (written !== null) parts.push(`written to ${written} ${written === 1 ? "terminal" : "terminals"}`);
  return parts.join("; ");
}
