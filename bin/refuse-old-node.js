// What import and require() of the package load on a Node that does not know "module-sync" in package.json: one before 20.19 or 22.12.
throw new Error(`ptalk ${require("./old-node.js").refusal}`);
