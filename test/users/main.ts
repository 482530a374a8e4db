// `npm run test:users`: what many users of one host may expect of each other, with real uids. One line a point; exit status 1 if one does
// not hold, 77 if this process cannot become other users. Each *.points.ts beside this file exports its points.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { type Point, World } from "./world.ts";

const INSIDE = "PTALK_USERS_INSIDE";
const NOT_ALLOWED = 77;

/** Runs the points whose names contain one of the words, all without words. */
async function runPoints(words: readonly string[]): Promise<number> {
  let failed = 0;
  const world = new World();
  try {
    for (const file of readdirSync(import.meta.dirname)
      .filter((name) => name.endsWith(".points.ts"))
      .sort()) {
      const { points } = (await import(join(import.meta.dirname, file))) as { points: readonly Point[] };
      for (const { name, run } of points) {
        if (words.length > 0 && !words.some((word) => name.includes(word))) continue;
        try {
          console.log(`ok    ${name}: ${await run(world)}`);
        } catch (error) {
          failed++;
          console.log(`FAIL  ${name}: ${error instanceof Error ? error.message : String(error)}`);
        }
        await world.reset();
      }
    }
  } finally {
    world.remove();
  }
  return failed;
}

if (process.env[INSIDE] !== undefined) {
  process.exit((await runPoints(process.argv.slice(2))) === 0 ? 0 : 1);
} else if (process.getuid?.() !== 0) {
  console.error("test:users needs root, to become other users");
  process.exit(NOT_ALLOWED);
} else {
  const loader = join(import.meta.dirname, "../../scripts/typescript.js");
  const command = [process.execPath, "--import", loader, import.meta.filename, ...process.argv.slice(2)];
  const { status } = spawnSync("unshare", ["-n", "-m", ...command], {
    stdio: "inherit",
    env: { ...process.env, [INSIDE]: "1" },
  });
  process.exit(status ?? 1);
}
