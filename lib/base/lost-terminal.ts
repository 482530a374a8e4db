// The end of a process whose terminal has gone.
import { closeSync, constants, openSync } from "node:fs";
import { isatty } from "node:tty";

const terminals = [0, 1, 2].filter((fd) => isatty(fd));

/**
 * For the very end of a process. Node puts back the terminal's mode then and aborts if that fails, as it does when the terminal
 * has gone (Node 20); what is another file by then it leaves alone.
 */
export function detachTerminal(): void {
  for (const fd of terminals) {
    if (isatty(fd)) continue;
    closeSync(fd);
    openSync("/dev/null", constants.O_RDWR); // the lowest number that is free: the same
  }
}
