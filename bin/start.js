// The command. CommonJS: Node is up 5 ms sooner than with a module. scripts/bundle.js makes the files.
const { existsSync, readFileSync } = require("node:fs");
const { join } = require("node:path");
const { requireCompiled } = require("./compiled.js");

const isDebugged = process.env.NODE_DEBUG?.includes("ptalk");

function program(file) {
  const path = join(__dirname, "../dist", file);
  if (!existsSync(path)) leave(`${path} is missing: install ptalk again, or in its checkout: npm run build`);
  try {
    return isDebugged ? requireMapped(path) : requireCompiled(path);
  } catch (error) {
    // An addon that does not load says in one line what to do (lib/native.ts).
    if (isDebugged || !/^ptalk|sodium/.test(error.message)) throw error;
    leave(error.message.replace(/^ptalk's/, "the"));
  }
}

function leave(reason) {
  console.error(`ptalk: ${reason}`);
  process.exit(70);
}

/** Stacks of what NODE_DEBUG prints name the modules, not the bundle. Node knows no source maps of code that was kept. */
function requireMapped(path) {
  process.setSourceMapsEnabled(true);
  return require(path);
}

/** As the single executable does: the licences of what is inside ask to go with every copy. A pager may close its end early. */
function printLicences() {
  process.stdout.on("error", ({ code }) => process.exit(code === "EPIPE" ? 0 : 70));
  for (const file of ["../LICENSE", "../dist/LICENCES.txt"])
    process.stdout.write(`${readFileSync(join(__dirname, file), "utf8")}\n`);
}

/** Not through the cache of compiled code: that is in the home, which may be on a mount that does not answer. */
function quickUnread(args) {
  const path = join(__dirname, "../dist/unread.cjs");
  return existsSync(path) && require(path).quickUnread(args);
}

async function start(args) {
  if (args[0] === "--licences") return printLicences();
  const done =
    (args[0] === "send" && (await program("send.cjs").quickSend(args))) || (args[0] === "unread" && quickUnread(args));
  if (!done) await program("ptalk.cjs").main(args);
}

start(process.argv.slice(2));
