// One yes-or-no question, while everything else goes on.
import { createInterface } from "node:readline";

export interface OpenQuestion {
  /** Takes it back: nobody is called. */
  close(): void;
}

const ignore = () => {};

/**
 * Asks on stderr, reads stdin.
 * @param done "yes" for y, yes, and Ctrl-C; "no" for anything else and for the end of input
 */
export function askOnTerminal(text: string, done: (answer: "yes" | "no") => void): OpenQuestion {
  const terminal = process.stdin.isTTY === true;
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal });
  let open = true;
  const finish = (answer: "yes" | "no" | null) => {
    if (!open) return;
    open = false;
    try {
      lines.close();
    } catch {
      // The terminal has gone: there is no mode to put back.
    }
    if (answer !== null) done(answer);
  };
  // A terminal that goes away is an error (EIO), now or a moment after the question was taken back.
  lines.on("error", () => finish("no"));
  if (!process.stdin.listeners("error").includes(ignore)) process.stdin.on("error", ignore);
  // readline's raw mode turns Ctrl-C into a key: it is the second SIGINT all the same.
  lines.on("SIGINT", () => {
    process.stderr.write("\n");
    finish("yes");
  });
  lines.on("close", () => {
    if (open && terminal) process.stderr.write("\n");
    finish("no");
  });
  lines.question(text, (line) => finish(/^\s*y(es)?\s*$/i.test(line) ? "yes" : "no"));
  return { close: () => finish(null) };
}
