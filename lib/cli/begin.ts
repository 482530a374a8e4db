// The beginning of every command: whatever becomes of its terminal, its output or its reader, no end is a crash.
import { detachTerminal } from "../base/lost-terminal.ts";
import { quietBrokenPipes } from "./output.ts";

export function begin(): void {
  process.on("exit", detachTerminal);
  quietBrokenPipes();
}
