// A second Node process with ptalk/ipc in it, running a script given by the test. `say(x)` in the script writes one
// line of JSON; the script stays alive while its input is open.
import { join } from "node:path";
import { requireFreshBuild } from "./fresh-build.ts";
import { Program } from "./program.ts";

const built = join(import.meta.dirname, "../../dist/ipc/index.js");

const prelude = `
import * as ipc from ${JSON.stringify(`file://${built}`)};
import { writeSync } from "node:fs";
const say = (value) => writeSync(1, JSON.stringify(value) + "\\n");
`;
const untilInputEnds = `process.stdin.on("end", () => process.exit(0)).resume();\n`;

export interface NodeOptions {
  /** The script has its standard input to itself, and ends when it has nothing more to do. */
  keepsInput?: boolean;
  env?: NodeJS.ProcessEnv;
  /** A command that runs the one given as its arguments, like prlimit(1). */
  wrapper?: readonly string[];
}

export class NodeProgram extends Program {
  constructor(script: string, args: readonly string[] = [], options: NodeOptions = {}) {
    requireFreshBuild();
    const source = prelude + (options.keepsInput ? "" : untilInputEnds) + script;
    const node = [process.execPath, "--input-type=module", "-e", source, "--", ...args];
    const [command = "", ...rest] = [...(options.wrapper ?? []), ...node];
    super(command, rest, options.env ? { env: options.env } : {});
  }

  /** The next `say` of the script. */
  async heard(): Promise<unknown> {
    return JSON.parse(await this.line());
  }
}
