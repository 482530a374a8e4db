// Processes that tests start load dist and the addon: what is older than its sources would test yesterday's program, and pass.
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "../..");
let checked = false;

/** Throws, with the command that mends it, when a source is newer than what was built of it. */
export function requireFreshBuild(): void {
  if (checked) return;
  check("lib", ".ts", "dist/ipc/index.js", "npm run build");
  if (!process.env.PTALK_ADDON && existsSync(join(root, "build")))
    check("native", "", "build/Release/ptalk.node", "npm run build:native");
  checked = true;
}

function check(sources: string, extension: string, product: string, command: string): void {
  const made = statSync(join(root, product), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const newer = readdirSync(join(root, sources), { recursive: true, encoding: "utf8" }).find(
    (file) => file.endsWith(extension) && statSync(join(root, sources, file)).mtimeMs > made,
  );
  if (newer !== undefined) throw new Error(`${product} is older than ${sources}/${newer}: ${command}, then test again`);
}
