// What a command starts from: the global options, resolved against environment and file, and the user's own name.
import { userInfo } from "node:os";
import type { Command } from "commander";
import { TalkError } from "../base/errors.ts";
import { nameOfLogin } from "../base/login-names.ts";
import { validateName } from "../base/names.ts";
import { type Config, type Flags, loadConfig } from "./config.ts";

export interface CommandContext {
  readonly config: Config;
  readonly json: boolean;
}

export async function commandContext(command: Command): Promise<CommandContext> {
  const { as: name, ...flags } = givenFlags(command);
  return contextOf({ ...flags, name });
}

/** Options of the command line. (A missing `--no-…` has a value too, which would hide the settings.) */
export function givenFlags(command: Command): Flags {
  const flags = Object.entries(command.optsWithGlobals<Flags>());
  return Object.fromEntries(flags.filter(([name]) => command.getOptionValueSourceWithGlobals(name) !== "default"));
}

/** @param flags the options by the names of their settings, `json` among them */
export async function contextOf({ json = false, ...flags }: Flags): Promise<CommandContext> {
  return { config: await loadConfig(flags), json: json === true };
}

/**
 * The name to speak under: as given or configured, else the login name.
 * @throws TalkError bad-name
 */
export function ownName({ name }: Config): string {
  if (name === undefined) return loginName();
  try {
    validateName(name);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new TalkError("bad-name", `${reason} (the own name: --as NAME or PTALK_NAME)`, { cause });
  }
  return name;
}

/** Milliseconds of a timeout setting in seconds. */
export function milliseconds(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : Math.ceil(seconds * 1000);
}

/** The name that the login goes by: every login has one. */
function loginName(): string {
  try {
    return nameOfLogin(userInfo({ encoding: "buffer" }).username);
  } catch (cause) {
    throw new TalkError("bad-name", "this user has no login name: give a name (--as NAME or PTALK_NAME)", {
      cause,
    });
  }
}
