#!/usr/bin/env node
// Starts the command. CommonJS: Node is up 5 ms sooner than with a module. scripts/bundle.js makes the files.
const { join } = require("node:path");
const { requireCompiled } = require("./compiled.js");

const program = (file) => requireCompiled(join(__dirname, "../dist", file));

async function start(args) {
  const done = args[0] === "send" && (await program("send.cjs").quickSend(args));
  if (!done) await program("ptalk.cjs").main(args);
}

start(process.argv.slice(2));
