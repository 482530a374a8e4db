// What can stand where a command line is being completed. The shells' scripts (commands/completion.ts) ask for it; the commands say
// themselves what options they have.
import type { Command } from "commander";
import { foldName } from "../base/names.ts";
import { listLocal } from "../presence/local-list.ts";
import type { Config } from "./config.ts";
import { withDirectory } from "./connect.ts";

/** Commands whose operands are names. */
const TAKES_NAMES = new Set([
  "talk",
  "send",
  "lookup",
  "history",
  "when",
  "key forget",
  "admin kick",
  "admin free",
  "key verify",
]);
/** Seconds that the server may take: a person waits for Tab. */
const SERVER_PATIENCE_S = 0.5;

/** The commands by name, see commands.ts. */
export type Loadable = Readonly<Record<string, { readonly load: () => Promise<{ readonly command: () => Command }> }>>;

export interface CompletionSource {
  readonly commands: Loadable;
  /** Options that every command has, with their dashes, and whether each takes a value. */
  readonly globals: ReadonlyMap<string, boolean>;
  /** Names of users who are on and begin so. */
  readonly names: (prefix: string) => Promise<readonly string[]>;
}

/** @param words what stands behind "ptalk"; the last one, perhaps empty, is being written. @returns what it can become */
export async function complete(words: readonly string[], source: CompletionSource): Promise<string[]> {
  const current = words.at(-1) ?? "";
  const before = words.slice(0, -1);
  if (before.includes("--")) return [];
  const named = before.filter((word) => !word.startsWith("-"));
  const [first] = named;
  const command =
    first !== undefined && Object.hasOwn(source.commands, first) ? await source.commands[first]?.load() : undefined;
  const chosen = command === undefined ? undefined : subcommand(command.command(), named.slice(1));
  const options = new Map([...source.globals, ...optionsOf(chosen?.command)]);
  if (options.get(before.at(-1) ?? "") === true) return []; // its value: a file, perhaps
  if (current.startsWith("-")) return matching([...options.keys()], current);
  if (chosen === undefined) {
    if (first !== undefined) return [];
    return [...matching(Object.keys(source.commands), current), ...(await namesFor(current, source))];
  }
  const parts = chosen.command.commands.map((part) => part.name());
  const path = chosen.path === "" ? (first ?? "") : `${first} ${chosen.path}`;
  return [...matching(parts, current), ...(TAKES_NAMES.has(path) ? await namesFor(current, source) : [])];
}

function subcommand(command: Command, words: readonly string[]): { command: Command; path: string } {
  const part = command.commands.find((each) => each.name() === words[0]);
  return part === undefined ? { command, path: "" } : { command: part, path: part.name() };
}

function optionsOf(command: Command | undefined): [string, boolean][] {
  const visible = command?.options.filter((option) => !option.hidden) ?? [];
  return visible.flatMap(({ long, required }) => (long ? [[long, required] as [string, boolean]] : []));
}

/** "a,b" is a list of which the last name is being written. */
async function namesFor(current: string, { names }: CompletionSource): Promise<string[]> {
  const start = current.slice(0, current.lastIndexOf(",") + 1);
  const given = new Set(start.split(",").map(foldName));
  const prefix = current.slice(start.length);
  const known = (await names(prefix)).filter((name) => !given.has(foldName(name)));
  return matching(known, prefix).map((name) => start + name);
}

function matching(words: readonly string[], prefix: string): string[] {
  const folded = foldName(prefix);
  return [...new Set(words)].filter((word) => foldName(word).startsWith(folded)).sort();
}

/** Names of users on this machine and, if the server answers soon, of those at the server that begin so. */
export async function namesOn(prefix: string, config: Config): Promise<string[]> {
  const ask = withDirectory({ ...config, timeout: SERVER_PATIENCE_S }, (directory) => directory.names(prefix));
  const there = await ask.catch(() => []);
  return [...listLocal().map(({ name }) => name), ...there];
}
