#!/usr/bin/env node
// Starts the command, if this Node can read it.
var oldNode = require("./old-node.js");
if (oldNode.isOld) {
  console.error(`ptalk: ${oldNode.refusal}`);
  process.exit(69);
}
require("./start.js");
