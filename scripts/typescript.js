// Runs TypeScript under Node 20: `node --import ./scripts/typescript.js FILE.ts`. Takes the types out of each module as it
// is loaded, by the compiler that makes the bundle; checking them is `npm run types`. For programs that import lib/ or test/.
import { readFile } from "node:fs/promises";
import { register } from "node:module";
import { fileURLToPath } from "node:url";
import { isMainThread } from "node:worker_threads";
import { transform } from "rolldown/utils";

// Node calls the hooks in a thread of its own, which loads this file once more.
if (isMainThread) {
  process.setSourceMapsEnabled(true);
  register(import.meta.url);
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
