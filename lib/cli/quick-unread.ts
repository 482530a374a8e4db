// `ptalk unread` without the command-line framework and without settings: it has to be fast. Only for a command line that is plainly
// right; everything else (mistakes, --help) is the framework's.
import { parseArgs } from "node:util";
import { unreadLine } from "./unread.ts";

const OPTIONS = {
  as: { type: "string" },
  format: { type: "string" },
  json: { type: "boolean" },
} as const;

/**
 * @param args the command line after "ptalk", beginning with "unread"
 * @returns false if nothing was done because the framework has to look at it
 */
export function quickUnread(args: readonly string[]): boolean {
  const options = parse(args.slice(1));
  if (options === undefined) return false;
  process.stdout.on("error", () => {}); // its reader has gone
  process.stdout.write(`${unreadLine(options)}\n`);
  return true;
}

function parse(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, strict: true }).values;
  } catch {
    return undefined;
  }
}
