// The single executable's first code (scripts/executable.js puts it in front of the rest). Its modules see a folder that does not exist,
// /ptalk: where the command starts itself again or forks a process of its own, the first argument is a file there, and found here.
import { args, isOurs, licences, mains } from "\0executable";

async function start(words) {
  const [first, ...rest] = words;
  if (first === "/ptalk/bin/ptalk.js") return start(rest);
  // Only with the channel of fork(): a word on the command line starts no worker.
  if (process.send !== undefined && isOurs(first)) return mains[first]();
  if (first === "--licences") {
    process.stdout.on("error", ({ code }) => process.exit(code === "EPIPE" ? 0 : 70)).write(licences());
    return;
  }
  const done =
    (first === "send" && (await mains["/ptalk/dist/cli/quick-send.js"]().quickSend(words))) ||
    (first === "unread" && mains["/ptalk/dist/cli/quick-unread.js"]().quickUnread(words));
  if (!done) await mains["/ptalk/dist/cli/main.js"]().main(words);
}

process.execArgv.length = 0; // they are in the file; to a process that is forked they would be words
start(args());
