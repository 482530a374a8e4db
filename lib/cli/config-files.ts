// The files that settings come from: the user's config.toml and the host's. Which are trusted, and what is in them as TOML. Knows
// nothing of single settings.
import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats } from "node:fs";
import { join } from "node:path";
import { TalkError } from "../base/errors.ts";
import { baseFolder, type Environment } from "../base/files.ts";
import { isShortage, systemCode } from "../base/system-error.ts";
import { utf8Fault } from "../base/text-file.ts";
import { refuseDamagedVariables } from "./damaged-text.ts";

export const SYSTEM_CONFIG_FILE = "/etc/ptalk/config.toml";
/** A longer one is no config: it is not read into memory. */
const MAX_CONFIG_BYTES = 1024 * 1024;

const ROOT = 0;
const GROUP_WRITE = 0o020;
const OTHERS_WRITE = 0o002;

export type TomlTable = Readonly<Record<string, unknown>>;

export interface ConfigSource {
  readonly origin: "user" | "system";
  readonly file: string;
  readonly table: TomlTable;
}

/** Null where there can be none: this user has no home. */
export function configFile(env: Environment = process.env): string | null {
  const base = baseFolder(env, "XDG_CONFIG_HOME", ".config");
  return base && join(base, "ptalk", "config.toml");
}

/**
 * The files that are there, the user's before the host's.
 * @throws TalkError refused: one that cannot be read, belongs to another user, or can be written by others; bad-config: no TOML
 */
export async function readConfigFiles(
  env: Environment,
  systemFile: string = SYSTEM_CONFIG_FILE,
): Promise<readonly ConfigSource[]> {
  refuseDamagedVariables(env);
  const own = configFile(env);
  const sources: ConfigSource[] = [];
  for (const [origin, file] of [
    ["user", own],
    ["system", systemFile],
  ] as const) {
    const source = file === null ? null : readTrusted(file, origin === "system");
    if (file === null || source === null) continue;
    const { parse } = await import("smol-toml"); // only those who have a file pay for the parser
    sources.push({ origin, file, table: parsed(file, () => parse(source)) });
  }
  return sources;
}

export function isTable(value: unknown): value is TomlTable {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/** The file's text; null where there is no such file. */
function readTrusted(file: string, isSystem: boolean): string | null {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK); // a fifo must not hold the command up
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    if (isShortage(error)) throw error;
    throw TalkError.refused(`${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`, error);
  }
  try {
    const status = fstatSync(fd);
    const problem = trustProblem(status, isSystem);
    if (problem !== null) throw TalkError.refused(`${file} ${problem}`);
    const source = readFileSync(fd);
    // Replaced by U+FFFD, a name or a path would be another one. (A byte order mark and CR LF are the parser's to take.)
    const fault = utf8Fault(source);
    if (fault !== null) throw TalkError.badConfig(`${file}, line ${fault.line}`, fault.reason);
    return source.toString("utf8");
  } finally {
    closeSync(fd);
  }
}

/** What it says runs programs and chooses servers: only its user and root may write it. */
function trustProblem(status: Stats, isSystem: boolean): string | null {
  const { uid, gid, mode, size } = status;
  if (!status.isFile()) return "is no regular file";
  if (size > MAX_CONFIG_BYTES) return `is larger than ${MAX_CONFIG_BYTES} bytes`;
  const self = process.geteuid?.() ?? uid;
  if (uid !== ROOT && (isSystem || uid !== self)) {
    return isSystem
      ? `belongs to uid ${uid}, not to root`
      : `belongs to uid ${uid}, neither to you (uid ${self}) nor to root`;
  }
  if ((mode & OTHERS_WRITE) !== 0) return "can be written by everybody: chmod o-w it";
  if ((mode & GROUP_WRITE) !== 0 && !isPrivateGroup(gid, uid)) {
    return `can be written by the group ${gid}, which is not its owner's own: chmod g-w it`;
  }
  return null;
}

/** A group of the owner's name with no other members, as Debian and Red Hat make one for each user. Root's own counts. */
function isPrivateGroup(gid: number, uid: number): boolean {
  const owner = entries("/etc/passwd").find((fields) => Number(fields[2]) === uid)?.[0];
  const [name, , , members = ""] = entries("/etc/group").find((fields) => Number(fields[2]) === gid) ?? [];
  return (
    owner !== undefined && name === owner && members.split(",").every((member) => member === "" || member === owner)
  );
}

function entries(file: string): string[][] {
  try {
    return readFileSync(file, "utf8")
      .split("\n")
      .map((line) => line.split(":"));
  } catch {
    return []; // what cannot be known is not trusted
  }
}

function parsed(file: string, parse: () => TomlTable): TomlTable {
  try {
    return parse();
  } catch (error) {
    throw TalkError.badConfig(file, error instanceof Error ? tomlReason(error) : "not TOML", error);
  }
}

// The parser's message goes on with a picture of the place, over several lines.
function tomlReason(error: Error & { line?: number; column?: number }): string {
  const [reason = ""] = error.message.split("\n");
  return error.line === undefined ? reason : `${reason} (line ${error.line}, column ${error.column})`;
}
