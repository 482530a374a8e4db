// CommandContext: flags > PTALK_* environment > $XDG_CONFIG_HOME/ptalk/config.toml > defaults. One table describes them all.
// Knows nothing of commands or sockets.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { TalkError } from "../base/errors.ts";
import { baseFolder, defaultStateDir, type Environment } from "../base/files.ts";
import { DEFAULT_SERVER } from "../base/server-address.ts";
import { utf8Fault } from "../base/text-file.ts";
import { boolean, fileMode, integer, listen, name, type Origin, path, seconds, server } from "./config-values.ts";

interface Setting<T> {
  /** Name in the environment, after PTALK_. */
  readonly env: string;
  /** Key in the file. Of the server's settings: in the table [serve]. */
  readonly key: string;
  /** @param raw text from a flag or the environment; what TOML has from the file */
  readonly read: (raw: unknown, origin: Origin) => T;
}

const CLIENT_SETTINGS = {
  server: { env: "SERVER", key: "server", read: server },
  name: { env: "NAME", key: "name", read: name },
  stateDir: { env: "STATE_DIR", key: "state-dir", read: path },
  port: { env: "PORT", key: "port", read: integer(0, 65_535) },
  timeout: { env: "TIMEOUT", key: "timeout", read: seconds },
  insecure: { env: "INSECURE", key: "insecure", read: boolean },
} satisfies Record<string, Setting<unknown>>;

const MAX_WORKERS = 64;
const MAX_CAPACITY = 1_048_576;
/** CommandContext of `ptalk serve`, in the file's table [serve]. */
const SERVE_SETTINGS = {
  listen: { env: "LISTEN", key: "listen", read: listen },
  workers: { env: "WORKERS", key: "workers", read: integer(1, MAX_WORKERS) },
  capacity: { env: "CAPACITY", key: "capacity", read: integer(1, MAX_CAPACITY) },
  exitWhenEmpty: { env: "EXIT_WHEN_EMPTY", key: "exit-when-empty", read: boolean },
  tls: { env: "TLS", key: "tls", read: boolean },
  tlsCert: { env: "TLS_CERT", key: "tls-cert", read: path },
  tlsKey: { env: "TLS_KEY", key: "tls-key", read: path },
  tableMode: { env: "TABLE_MODE", key: "table-mode", read: fileMode },
  stateDir: { env: "STATE_DIR", key: "state-dir", read: path },
  insecure: { env: "INSECURE", key: "insecure", read: boolean },
} satisfies Record<string, Setting<unknown>>;

type Values<S extends Record<string, Setting<unknown>>> = { readonly [K in keyof S]?: ReturnType<S[K]["read"]> };
/** What the command line gave, by setting; undefined where it gave nothing. */
export type Flags = Readonly<Record<string, string | boolean | undefined>>;

export interface Config extends Values<typeof CLIENT_SETTINGS> {
  /** "HOST:PORT" */
  readonly server: string;
  /** False while the server is the built-in default: only then a server may be started in the background. */
  readonly serverConfigured: boolean;
  readonly stateDir: string;
  readonly insecure: boolean;
}
export type ServeConfig = Values<typeof SERVE_SETTINGS>;

/** @throws TalkError usage (flags), bad-config (environment, file) */
export async function loadConfig(flags: Flags = {}, env: Environment = process.env): Promise<Config> {
  const values = resolve(CLIENT_SETTINGS, flags, env, await readConfigFile(env), "");
  return {
    ...values,
    server: values.server ?? DEFAULT_SERVER,
    serverConfigured: values.server !== undefined,
    stateDir: values.stateDir ?? defaultStateDir(env),
    insecure: values.insecure ?? false,
  };
}

/** The server's settings; whatever is undefined is the server's own default. */
export async function loadServeConfig(flags: Flags = {}, env: Environment = process.env): Promise<ServeConfig> {
  const table = (await readConfigFile(env)).serve;
  return resolve(SERVE_SETTINGS, flags, env, isTable(table) ? table : {}, "serve.");
}

/** Null where there can be none: this user has no home. */
export function configFile(env: Environment = process.env): string | null {
  const base = baseFolder(env, "XDG_CONFIG_HOME", ".config");
  return base && join(base, "ptalk", "config.toml");
}

function resolve<S extends Record<string, Setting<unknown>>>(
  settings: S,
  flags: Flags,
  env: Environment,
  file: Readonly<Record<string, unknown>>,
  prefix: string,
): Values<S> {
  const values: Record<string, unknown> = {};
  for (const [name, { env: suffix, key, read }] of Object.entries(settings)) {
    const variable = `PTALK_${suffix}`;
    // An empty variable counts as unset, as is the custom in shells.
    if (flags[name] !== undefined) values[name] = read(flags[name], `--${key}`);
    else if (env[variable]) values[name] = asConfig(() => read(env[variable], variable));
    else if (file[key] !== undefined) {
      values[name] = asConfig(() => read(file[key], `${configFile(env)}: ${prefix}${key}`));
    }
  }
  return values as Values<S>;
}

// A bad value is the caller's mistake on the command line, but the configuration's anywhere else.
function asConfig<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof TalkError ? new TalkError("bad-config", error.message, { cause: error }) : error;
  }
}

async function readConfigFile(env: Environment): Promise<Readonly<Record<string, unknown>>> {
  const file = configFile(env);
  if (file === null) return {};
  let source: Buffer;
  try {
    source = readFileSync(file);
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR")) return {};
    throw TalkError.badConfig(file, error instanceof Error ? error.message : "unreadable", error);
  }
  // Replaced by U+FFFD, a name or a path would be another one. (A byte order mark and CR LF are the parser's to take.)
  const fault = utf8Fault(source);
  if (fault !== null) throw TalkError.badConfig(`${file}, line ${fault.line}`, fault.reason);
  const { parse } = await import("smol-toml"); // only those who have a file pay for the parser
  const table = asToml(file, () => parse(source.toString("utf8")));
  checkKeys(file, table);
  return table;
}

function asToml<T>(file: string, parse: () => T): T {
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

function checkKeys(file: string, table: Readonly<Record<string, unknown>>): void {
  const known = new Set(["serve", ...Object.values(CLIENT_SETTINGS).map((s) => s.key)]);
  const knownServe = new Set(Object.values(SERVE_SETTINGS).map((s) => s.key));
  for (const key of Object.keys(table)) if (!known.has(key)) throw unknownKey(file, key, known);
  if (table.serve === undefined) return;
  if (!isTable(table.serve)) throw TalkError.badConfig(`${file}: serve`, "expected a table, [serve]");
  for (const key of Object.keys(table.serve)) {
    if (!knownServe.has(key)) throw unknownKey(file, `serve.${key}`, knownServe);
  }
}

function unknownKey(file: string, key: string, known: Set<string>): TalkError {
  return TalkError.badConfig(`${file}: ${key}`, `unknown key; known are ${[...known].join(", ")}`);
}

function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
