// What belongs to the user: terminal and locale, the state folder and the key in it.
import { accessSync, constants, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Environment } from "../../config.ts";
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

export function checkStateDir(dir: string): Finding[] {
  const folder = nearest(dir);
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    return [
      fail("state folder", `${dir}: ${messageOf(error)}`, "make it writable, or choose another one: --state-dir DIR"),
    ];
  }
  return [ok("state folder", folder === dir ? dir : `${dir} (made when needed)`), checkKey(join(dir, "key"))];
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
  return ok("key", `${file}, mode 600`);
}

/** The folder itself, or the first above it that exists: the one in which it would be made. */
function nearest(dir: string): string {
  const above = dirname(dir);
  return above === dir || statSync(dir, { throwIfNoEntry: false }) !== undefined ? dir : nearest(above);
}
