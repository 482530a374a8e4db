// Whether this Node is too old for ptalk, and the line that says so. In the JavaScript of 2009: whichever Node it is, it reads this.
var parts = process.versions.node.split(".");
var major = Number(parts[0]);
var minor = Number(parts[1]);

exports.isOld = !(major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19));
exports.refusal =
  "needs Node 20.19 or later (of version 22: 22.12 or later), and this is " +
  process.versions.node +
  "; try https://nodejs.org/en/download, or the single file `ptalk`, which needs no Node";
