// What stands for the fate of a message that one has sent: signs, or ASCII where the terminal has no others.
import type { Environment } from "../../base/files.ts";
import { speaksUtf8 } from "./locale.ts";

export interface Marks {
  readonly to: string;
  readonly delivered: string;
  readonly failed: string;
  readonly unconfirmed: string;
  readonly pending: string;
}

const UNICODE: Marks = { to: "→", delivered: "✓", failed: "✗", unconfirmed: "?", pending: "…" };
const ASCII: Marks = { to: "->", delivered: "ok", failed: "!!", unconfirmed: "??", pending: ".." };

export const marksFor = (env: Environment): Marks => (speaksUtf8(env) ? UNICODE : ASCII);
