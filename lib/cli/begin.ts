// The beginning of every command: whatever becomes of its terminal, its output or its reader, no end is a crash, and what the
// library warns of is a line for people.
import { detachTerminal } from "../base/lost-terminal.ts";
import { note, quietBrokenPipes } from "./output.ts";

export function begin(): void {
  process.on("exit", detachTerminal);
  quietBrokenPipes();
  showWarnings();
  tidyUp();
}

/**
 * Takes away what killed servers of this user have left, now and at the end. Without the addon there is nothing to be done, as for a
 * command that needs none.
 */
function tidyUp(): void {
  import("../presence/remains.ts").then(
    ({ removeRemains }) => {
      removeRemains();
      process.on("exit", removeRemains);
    },
    () => {},
  );
}

/** Ours are sentences for whoever runs the command. All others are for whoever works on it, and shown as Node shows them. */
function showWarnings(): void {
  const nodes = process.listeners("warning");
  process.removeAllListeners("warning").on("warning", (warning: Error & { code?: string }) => {
    if (warning.code?.startsWith("PTALK_")) note(warning.message);
    else for (const show of nodes) show(warning);
  });
}
