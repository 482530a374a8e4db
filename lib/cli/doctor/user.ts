// What belongs to the user: terminal and locale, the state folder and the key in it.
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { Environment } from "../../base/files.ts";
import { readSeedFile } from "../../crypto/key-file.ts";
import { KnownDirectories } from "../../store/known-directories.ts";
import { KnownPeers, KnownServers } from "../../store/known-peers.ts";
import { keyFile } from "../../store/state-paths.ts";
import { ownName } from "../command-context.ts";
import type { Config } from "../config.ts";
import { configFile } from "../config-files.ts";
import { speaksUtf8 } from "../talk/locale.ts";
import { type Finding, fail, messageOf, ok, warn } from "./check.ts";

const OTHERS = 0o077; // permission bits of group and others

export function checkLocale(env: Environment): Finding {
  const locale = env.LC_ALL || env.LC_CTYPE || env.LANG || "(none)";
  if (speaksUtf8(env)) return ok("locale", locale);
  return warn(
    "locale",
    `${locale}: not UTF-8`,
    "ptalk speaks UTF-8: export LANG=C.UTF-8, or letters beyond ASCII may look wrong",
  );
}

export function checkTerminal(env: Environment): Finding {
  if (!process.stdin.isTTY || !process.stdout.isTTY) return ok("terminal", "none: lines in, lines out");
  if (env.TERM === "dumb" || !env.TERM) {
    return warn("terminal", `TERM is ${env.TERM || "not set"}`, "set TERM for line editing, history and Tab");
  }
  return ok("terminal", `${env.TERM}, ${process.stdout.columns} columns`);
}

export function checkConfigFile(env: Environment): Finding {
  const file = configFile(env);
  return ok("settings", file !== null && existsSync(file) ? file : "no config.toml: flags, environment and defaults");
}

export function checkOwnName(config: Config): Finding {
  try {
    return ok("name", ownName(config));
  } catch (error) {
    return fail("name", messageOf(error), 'give one: --as NAME, PTALK_NAME, or name = "NAME" in config.toml');
  }
}

export function checkStateDir(dir: string): Finding[] {
  try {
    const folder = nearest(dir);
    if (!statSync(folder).isDirectory()) throw new Error(`${folder} is no folder`);
    accessSync(folder, constants.W_OK | constants.X_OK);
    const found = ok("state folder", folder === dir ? dir : `${dir} (made when needed)`);
    return [found, checkKey(keyFile(dir)), checkPins("known peers", dir), checkPins("known servers", dir)];
  } catch (error) {
    const advice = "make it writable, or choose another one: --state-dir DIR";
    return [fail("state folder", `${dir}: ${messageOf(error)}`, advice)];
  }
}

function checkKey(file: string): Finding {
  const status = statSync(file, { throwIfNoEntry: false });
  if (status === undefined) return ok("key", `${file} (made when needed)`);
  if (status.uid !== process.getuid?.())
    return fail("key", `${file} belongs to user ${status.uid}`, `take it over: chown $USER ${file}`);
  if (status.mode & OTHERS) {
    const mode = (status.mode & 0o777).toString(8);
    return fail(
      "key",
      `${file} can be read by others (mode ${mode})`,
      `chmod 600 ${file}; if others may have read it, remove it and start anew`,
    );
  }
  try {
    readSeedFile(file)?.fill(0);
    return ok("key", `${file}, mode 600`);
  } catch (error) {
    return fail(
      "key",
      messageOf(error),
      "take it from a backup; with a new key servers and peers know you as another one",
    );
  }
}

function checkPins(what: "known peers" | "known servers", dir: string): Finding {
  try {
    if (what === "known servers") new KnownDirectories(dir).checkFile();
    const pins = what === "known peers" ? new KnownPeers(dir) : new KnownServers(dir);
    return ok(what, `${pins.list().length}`);
  } catch (error) {
    return fail(what, messageOf(error), "until then nobody's key can be checked, and nothing is sent");
  }
}

/** The folder itself, or the first above it that exists: the one in which it would be made. */
function nearest(dir: string): string {
  const above = dirname(dir);
  return above === dir || isThere(dir) ? dir : nearest(above);
}

function isThere(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    // Below a file there is nothing.
    if (error instanceof Error && "code" in error && error.code === "ENOTDIR") return false;
    throw error;
  }
}
