#!/usr/bin/env node
// Starts the command. `ptalk send` has a quick way of its own: scripts call it often.
import module from "node:module";
import { homedir } from "node:os";
import { join } from "node:path";

// Compiled code is kept for the next start, where Node can (22.8 and later). Not in /tmp: whoever made the folder there
// first would be trusted with code.
module.enableCompileCache?.(join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "ptalk"));

const args = process.argv.slice(2);
const done = args[0] === "send" && (await (await import("../dist/quick/send.js")).quickSend(args));
if (!done) await (await import("../dist/cli/main.js")).main(args);
