// Runs TypeScript under Node 20: `node --import ./scripts/typescript.js FILE.ts`, for the programs in test/. Takes the types out of
// each of their modules as it is loaded; checking them is `npm run types`. Modules of lib/ are loaded as they were built: what
// Node 20 does not know yet (`using`) is the compiler's to put into other words.
import { readFile } from "node:fs/promises";
import { register } from "node:module";
import { fileURLToPath } from "node:url";
import { isMainThread } from "node:worker_threads";
import { transform } from "rolldown/utils";

const LIB = new URL("../lib/", import.meta.url).href;
const DIST = new URL("../dist/", import.meta.url).href;

// Node calls the hooks in a thread of its own, which loads this file once more.
if (isMainThread) {
  process.setSourceMapsEnabled(true);
  register(import.meta.url);
}

/** A hook of Node's module loader. */
export async function resolve(specifier, context, nextResolve) {
  const found = await nextResolve(specifier, context);
  if (!found.url.startsWith(LIB) || !found.url.endsWith(".ts")) return found;
  const url = DIST + found.url.slice(LIB.length).replace(/ts$/, "js");
  return { url, format: "module", shortCircuit: true };
}

/** A hook of Node's module loader. */
export async function load(url, context, nextLoad) {
  if (!url.endsWith(".ts")) return nextLoad(url, context);
  const file = fileURLToPath(url);
  const { code, map, errors } = await transform(file, await readFile(file, "utf8"), { sourcemap: true });
  if (errors.length > 0) throw new SyntaxError(`${file}: ${errors[0].message}`);
  const inline = Buffer.from(JSON.stringify({ ...map, sources: [url] })).toString("base64");
  const source = `${code}\n//# sourceMappingURL=data:application/json;base64,${inline}\n`;
  return { format: "module", shortCircuit: true, source };
}
