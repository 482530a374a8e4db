// Settings: flags > PTALK_* environment > the user's config.toml > /etc/ptalk/config.toml > defaults. One table describes them all.
// Knows nothing of commands or sockets.
import { TalkError } from "../base/errors.ts";
import { defaultStateDir, type Environment } from "../base/files.ts";
import { DEFAULT_SERVER } from "../base/server-address.ts";
import type { Accept } from "../client/types.ts";
import { DEFAULT_HISTORY_DAYS } from "../store/history/record.ts";
import { type ConfigSource, isTable, readConfigFiles, type TomlTable } from "./config-files.ts";
import {
  ACCEPT_WORDS,
  BELL_POLICIES,
  type BellPolicy,
  boolean,
  command,
  directoryAddress,
  duration,
  fileMode,
  integer,
  listen,
  logins,
  name,
  type Origin,
  oneOf,
  path,
  servers,
  size,
  socketPath,
  text,
  timeFormat,
  WEEK_S,
  YEAR_S,
} from "./config-values.ts";

interface Setting<T> {
  /** Name in the environment, after PTALK_; null: it has none. */
  readonly env: string | null;
  /** Key in the file. Of the server's settings: in the table [serve]. */
  readonly key: string;
  /** @param raw text from a flag or the environment; what TOML has from the file */
  readonly read: (raw: unknown, origin: Origin) => T;
  /** What holds when nobody says anything; null where that depends on the host. */
  readonly fallback: T | null;
}

const MAX_HISTORY_DAYS = 36_500;
const MAX_WORKERS = 64;
const MAX_CAPACITY = 1_048_576;

const CLIENT_SETTINGS = {
  server: { env: "SERVER", key: "server", read: servers, fallback: DEFAULT_SERVER },
  name: { env: "NAME", key: "name", read: name, fallback: null },
  stateDir: { env: "STATE_DIR", key: "state-dir", read: path, fallback: null },
  port: { env: "PORT", key: "port", read: integer(0, 65_535), fallback: 0 },
  timeout: { env: "TIMEOUT", key: "timeout", read: duration(WEEK_S), fallback: 10 },
  insecure: { env: "INSECURE", key: "insecure", read: boolean, fallback: false },
  ca: { env: "CA", key: "ca", read: path, fallback: null },
  timeFormat: { env: "TIME_FORMAT", key: "time-format", read: timeFormat, fallback: "%H:%M" },
  accept: { env: "ACCEPT", key: "accept", read: oneOf(ACCEPT_WORDS), fallback: "all" as Accept },
  relay: { env: "RELAY", key: "relay", read: boolean, fallback: true },
  listed: { env: "LISTED", key: "listed", read: boolean, fallback: true },
  history: { env: "HISTORY", key: "history", read: boolean, fallback: true },
  historyDays: {
    env: "HISTORY_DAYS",
    key: "history-days",
    read: integer(1, MAX_HISTORY_DAYS),
    fallback: DEFAULT_HISTORY_DAYS,
  },
  // What runs programs is not taken from the environment: that is easily somebody else's.
  onMessage: { env: null, key: "on-message", read: command, fallback: null },
  bell: { env: "BELL", key: "bell", read: oneOf(BELL_POLICIES), fallback: "direct" as BellPolicy },
} satisfies Record<string, Setting<unknown>>;

/** Of `ptalk serve`, in the file's table [serve]. */
const SERVE_SETTINGS = {
  listen: { env: "LISTEN", key: "listen", read: listen, fallback: DEFAULT_SERVER },
  socket: { env: "SOCKET", key: "socket", read: socketPath, fallback: "none" },
  workers: { env: "WORKERS", key: "workers", read: integer(1, MAX_WORKERS), fallback: null },
  capacity: { env: "CAPACITY", key: "capacity", read: integer(1, MAX_CAPACITY), fallback: 4096 },
  exitWhenEmpty: { env: "EXIT_WHEN_EMPTY", key: "exit-when-empty", read: boolean, fallback: false },
  tls: { env: "TLS", key: "tls", read: boolean, fallback: false },
  tlsCert: { env: "TLS_CERT", key: "tls-cert", read: path, fallback: null },
  tlsKey: { env: "TLS_KEY", key: "tls-key", read: path, fallback: null },
  tableMode: { env: "TABLE_MODE", key: "table-mode", read: fileMode, fallback: 0o644 },
  stateDir: { env: "STATE_DIR", key: "state-dir", read: path, fallback: null },
  insecure: { env: "INSECURE", key: "insecure", read: boolean, fallback: false },
  watchLimit: { env: "WATCH_LIMIT", key: "watch-limit", read: integer(0, MAX_CAPACITY), fallback: 256 },
  metrics: { env: "METRICS", key: "metrics", read: listen, fallback: null },
  mailbox: { env: "MAILBOX", key: "mailbox", read: boolean, fallback: true },
  mailboxSize: { env: "MAILBOX_SIZE", key: "mailbox-size", read: size, fallback: 64 * 2 ** 20 },
  mailboxAge: { env: "MAILBOX_AGE", key: "mailbox-age", read: duration(YEAR_S), fallback: 7 * 86_400 },
  relay: { env: "RELAY", key: "relay", read: boolean, fallback: true },
  relayRate: { env: "RELAY_RATE", key: "relay-rate", read: size, fallback: 256 * 1024 },
  openNames: { env: "OPEN_NAMES", key: "open-names", read: boolean, fallback: false },
  private: { env: "PRIVATE", key: "private", read: boolean, fallback: false },
  directory: { env: "DIRECTORY", key: "directory", read: directoryAddress, fallback: null },
  directoryCa: { env: "DIRECTORY_CA", key: "directory-ca", read: path, fallback: null },
  directoryCert: { env: "DIRECTORY_CERT", key: "directory-cert", read: path, fallback: null },
  directoryKey: { env: "DIRECTORY_KEY", key: "directory-key", read: path, fallback: null },
  realm: { env: "REALM", key: "realm", read: text, fallback: null },
  peerListen: { env: "PEER_LISTEN", key: "peer-listen", read: listen, fallback: null },
  admins: { env: "ADMINS", key: "admins", read: logins, fallback: [] as readonly string[] },
} satisfies Record<string, Setting<unknown>>;

type SettingTable = Readonly<Record<string, Setting<unknown>>>;
type Values<S extends SettingTable> = { readonly [K in keyof S]?: ReturnType<S[K]["read"]> };
/** What the command line gave, by setting; undefined where it gave nothing. */
export type Flags = Readonly<Record<string, string | boolean | undefined>>;

/** One setting with its source, as `ptalk config --show-origin` shows it. */
export interface SettingOrigin {
  /** As in the file; of the server's with "serve." before it. */
  readonly key: string;
  readonly value: string | number | boolean | readonly string[] | null;
  readonly origin: "flag" | "env" | "user" | "system" | "default";
  /** The flag, the variable or the file; null for a default. */
  readonly where: string | null;
}

export interface Config extends Values<typeof CLIENT_SETTINGS> {
  /** "HOST:PORT", or several with commas between. */
  readonly server: string;
  /** False while the server is the built-in default: only then a server may be started in the background. */
  readonly serverConfigured: boolean;
  /** The port was given on the command line: no other one will do. */
  readonly insistsOnPort?: boolean;
  readonly stateDir: string;
  readonly insecure: boolean;
  readonly timeFormat: string;
  readonly bell: BellPolicy;
  readonly accept: Accept;
  readonly listed: boolean;
  readonly relay: boolean;
  readonly history: boolean;
  readonly historyDays: number;
}
export type ServeConfig = Values<typeof SERVE_SETTINGS>;

/** @throws TalkError usage (flags), bad-config (environment, file), refused (a file that cannot be trusted) */
export async function loadConfig(
  flags: Flags = {},
  env: Environment = process.env,
  systemFile?: string,
): Promise<Config> {
  const values = valuesOf(CLIENT_SETTINGS, flags, env, await readSources(env, systemFile));
  return {
    ...values,
    server: values.server ?? DEFAULT_SERVER,
    serverConfigured: values.server !== undefined,
    ...(flags.port === undefined ? {} : { insistsOnPort: true }),
    stateDir: values.stateDir ?? defaultStateDir(env),
    insecure: values.insecure ?? false,
    timeFormat: values.timeFormat ?? CLIENT_SETTINGS.timeFormat.fallback,
    accept: values.accept ?? CLIENT_SETTINGS.accept.fallback,
    listed: values.listed ?? CLIENT_SETTINGS.listed.fallback,
    relay: values.relay ?? CLIENT_SETTINGS.relay.fallback,
    history: values.history ?? CLIENT_SETTINGS.history.fallback,
    historyDays: values.historyDays ?? CLIENT_SETTINGS.historyDays.fallback,
    bell: values.bell ?? CLIENT_SETTINGS.bell.fallback,
  };
}

/** The server's settings; whatever is undefined is the server's own default. @throws as loadConfig() */
export async function loadServeConfig(
  flags: Flags = {},
  env: Environment = process.env,
  systemFile?: string,
): Promise<ServeConfig> {
  return valuesOf(SERVE_SETTINGS, flags, env, serveSources(await readSources(env, systemFile)), "serve.");
}

/** The same for a server that belongs to no user: it reads only the host's file. @throws as loadConfig() */
export async function loadBackgroundConfig(flags: Flags, systemFile?: string): Promise<ServeConfig> {
  const sources = (await readSources({}, systemFile)).filter(({ origin }) => origin === "system");
  return valuesOf(SERVE_SETTINGS, flags, {}, serveSources(sources), "serve.");
}

/** Every setting with its source, sorted by key. @throws as loadConfig() */
export async function settingOrigins(
  flags: Flags = {},
  env: Environment = process.env,
  systemFile?: string,
): Promise<SettingOrigin[]> {
  const sources = await readSources(env, systemFile);
  const client = [...resolve(CLIENT_SETTINGS, flags, env, sources, "").values()];
  const serve = [...resolve(SERVE_SETTINGS, {}, env, serveSources(sources), "serve.").values()];
  const shown = [...client, ...serve].map(({ key, value, origin, where }): SettingOrigin => {
    if (key === "state-dir" && value === null) return { key, value: defaultStateDir(env), origin, where };
    return { key, value: key === "serve.table-mode" ? modeText(value) : value, origin, where };
  });
  return shown.sort((a, b) => (a.key < b.key ? -1 : 1));
}

const modeText = (mode: unknown): string => Number(mode).toString(8).padStart(4, "0");

function valuesOf<S extends SettingTable>(
  settings: S,
  flags: Flags,
  env: Environment,
  sources: readonly ConfigSource[],
  prefix = "",
): Values<S> {
  const found = [...resolve(settings, flags, env, sources, prefix)].filter(([, { origin }]) => origin !== "default");
  return Object.fromEntries(found.map(([setting, { value }]) => [setting, value])) as Values<S>;
}

/** By the setting's name. The first source that says anything counts; a bad value of a later one is not looked at. */
function resolve(
  settings: SettingTable,
  flags: Flags,
  env: Environment,
  sources: readonly ConfigSource[],
  prefix: string,
): Map<string, SettingOrigin> {
  const found = new Map<string, SettingOrigin>();
  for (const [setting, { env: suffix, key, read, fallback }] of Object.entries(settings)) {
    const variable = `PTALK_${suffix}`;
    const given = suffix === null ? undefined : env[variable];
    const take = (value: unknown, origin: SettingOrigin["origin"], where: string | null): void => {
      found.set(setting, { key: `${prefix}${key}`, value: value as SettingOrigin["value"], origin, where });
    };
    const source = sources.find(({ table }) => table[key] !== undefined);
    // An empty variable counts as unset, as is the custom in shells.
    if (flags[setting] !== undefined) take(read(flags[setting], `--${key}`), "flag", `--${key}`);
    else if (given)
      take(
        asConfig(() => read(given, variable)),
        "env",
        variable,
      );
    else if (source === undefined) take(fallback, "default", null);
    else {
      const where = `${source.file}: ${prefix}${key}`;
      if (read === path) checkAbsolute(source.table[key], where);
      take(
        asConfig(() => read(source.table[key], where)),
        source.origin,
        source.file,
      );
    }
  }
  return found;
}

// A bad value is the caller's mistake on the command line, but the configuration's anywhere else.
function asConfig<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof TalkError ? new TalkError("bad-config", error.message, { cause: error }) : error;
  }
}

/** A file does not know the folder that a command is run in. */
function checkAbsolute(raw: unknown, where: string): void {
  if (typeof raw !== "string" || raw.startsWith("/") || raw.startsWith("~/")) return;
  throw TalkError.badConfig(where, `expected a path that begins with / or ~/, not ${JSON.stringify(raw)}`);
}

async function readSources(env: Environment, systemFile: string | undefined): Promise<readonly ConfigSource[]> {
  const sources = await readConfigFiles(env, systemFile);
  const known = new Set(["serve", ...Object.values(CLIENT_SETTINGS).map(({ key }) => key)]);
  const knownServe = new Set(Object.values(SERVE_SETTINGS).map(({ key }) => key));
  for (const { file, table } of sources) {
    checkKeys(file, table, known, "");
    if (table.serve === undefined) continue;
    if (!isTable(table.serve)) throw TalkError.badConfig(`${file}: serve`, "expected a table, [serve]");
    checkKeys(file, table.serve, knownServe, "serve.");
  }
  return sources;
}

function checkKeys(file: string, table: TomlTable, known: ReadonlySet<string>, prefix: string): void {
  for (const key of Object.keys(table)) {
    if (known.has(key)) continue;
    throw TalkError.badConfig(`${file}: ${prefix}${key}`, `unknown key; known are ${[...known].join(", ")}`);
  }
}

function serveSources(sources: readonly ConfigSource[]): readonly ConfigSource[] {
  return sources.map((source) => ({ ...source, table: isTable(source.table.serve) ? source.table.serve : {} }));
}
