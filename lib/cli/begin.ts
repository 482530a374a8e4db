// The beginning of every command: whatever becomes of its terminal, its output or its reader, no end is a crash, and what the
// library warns of is a line for people.
import { detachTerminal } from "../base/lost-terminal.ts";
import { note, quietBrokenPipes } from "./output.ts";

export function begin(): void {
  process.on("exit", detachTerminal);
  quietBrokenPipes();
  showWarnings();
}

/** Ours are sentences for whoever runs the command. All others are for whoever works on it, and shown as Node shows them. */
function showWarnings(): void {
  const nodes = process.listeners("warning");
  process.removeAllListeners("warning").on("warning", (warning: Error & { code?: string }) => {
    if (warning.code?.startsWith("PTALK_")) note(warning.message);
    else for (const show of nodes) show(warning);
  });
}
