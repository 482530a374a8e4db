// `ptalk send` without the command-line framework: scripts call it often, and loading commander is a tenth of its time.
// Only for a command line that is plainly right; everything else (mistakes, --help) is the framework's.
import { parseArgs } from "node:util";
import { begin } from "./begin.ts";
import { contextOf } from "./command-context.ts";
import { refuseDamagedArguments } from "./damaged-text.ts";
import { finish, linger } from "./finish.ts";
import { send } from "./send.ts";

const OPTIONS = {
  as: { type: "string" },
  timeout: { type: "string" },
  id: { type: "string" },
  wait: { type: "string" },
  leave: { type: "boolean" },
  file: { type: "string" },
  server: { type: "string" },
  "state-dir": { type: "string" },
  insecure: { type: "boolean" },
  ca: { type: "string" },
  port: { type: "string" },
  "no-relay": { type: "boolean" },
  json: { type: "boolean" },
} as const;

/**
 * @param args the command line after "ptalk", beginning with "send"
 * @returns false if nothing was done because the framework has to look at it
 */
export async function quickSend(args: readonly string[]): Promise<boolean> {
  const line = parse(args.slice(1));
  const [names, ...words] = line?.positionals ?? [];
  if (line === undefined || names === undefined) return false;
  const { as: name, "state-dir": stateDir, "no-relay": noRelay, file, id, wait, leave, ...others } = line.values;
  begin();
  try {
    refuseDamagedArguments(args);
    await send(names, words, await contextOf({ ...others, name, stateDir, ...(noRelay ? { relay: false } : {}) }), {
      file,
      id,
      wait,
      leave,
    });
  } catch (error) {
    finish(error, args);
  }
  linger();
  return true;
}

function parse(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true, strict: true });
  } catch {
    return undefined;
  }
}
