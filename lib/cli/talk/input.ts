// What a line typed in a conversation means. Pure.
import { TalkError } from "../../base/errors.ts";
import { foldName, validateName } from "../../base/names.ts";

export type TalkInput =
  | { readonly type: "nothing" }
  | { readonly type: "all" | "list" | "exit" | "help" }
  | { readonly type: "send"; readonly to: readonly string[]; readonly text: string };

/** As they are shown; compared without regard to case, and each also with a leading slash. */
export const TALK_COMMANDS = ["All", "List", "Exit", "Help"] as const;

export const TALK_HELP = [
  "NAME message       send a message to NAME; NAME,NAME message to several",
  "All                who is on",
  "List               who is on, on this machine",
  "Exit               leave (also Ctrl-D)",
  "Help               this",
  "Tab completes names. Commands may start with a slash: /list",
] as const;

const COMMAND_WORDS: ReadonlyMap<string, "all" | "list" | "exit" | "help"> = new Map([
  ["all", "all"],
  ["list", "list"],
  ["exit", "exit"],
  ["help", "help"],
]);

/** Names given at once; more is a mistake or a nuisance. */
export const RECIPIENTS_LIMIT = 100;

/** @throws TalkError usage */
export function parseTalkInput(line: string): TalkInput {
  const [, first = "", rest] = /^\s*(\S+)(?:\s(.*))?$/su.exec(line) ?? [];
  if (first === "") return { type: "nothing" };
  const slash = first.startsWith("/");
  const command = COMMAND_WORDS.get((slash ? first.slice(1) : first).toLowerCase());
  if (command !== undefined) {
    if (rest === undefined || rest.trim() === "") return { type: command };
    throw TalkError.usage(`${first} is a command and takes no text; nobody can have that name`);
  }
  if (slash) throw TalkError.usage(`no command ${JSON.stringify(first)}; there are ${TALK_COMMANDS.join(", ")}`);
  if (rest === undefined || rest.trim() === "") {
    throw TalkError.usage(`no message for ${JSON.stringify(first)}: write NAME message, or Help`);
  }
  return { type: "send", to: parseRecipients(first), text: rest };
}

/** "NAME,NAME": each once, however it is spelled, in the order given. @throws TalkError usage */
export function parseRecipients(text: string): string[] {
  const names = new Map<string, string>();
  for (const name of text.split(",")) if (!names.has(foldName(name))) names.set(foldName(name), name);
  if (names.has("")) throw TalkError.usage(`${JSON.stringify(text)}: a name is missing beside a comma`);
  if (names.size > RECIPIENTS_LIMIT) throw TalkError.usage(`${names.size} names; at most ${RECIPIENTS_LIMIT} at once`);
  return [...names.values()];
}

/** What is wrong with names that nobody can have: with one of them a message is a mistake, and goes to nobody. */
export function nameMistakes(names: readonly string[]): TalkError[] {
  return names.flatMap((name) => {
    try {
      validateName(name);
      return [];
    } catch (error) {
      if (error instanceof TalkError) return [error];
      throw error;
    }
  });
}
