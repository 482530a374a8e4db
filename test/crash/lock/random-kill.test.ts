// A short run of test/crash/random-kill.js; `npm run test:kill` makes long ones.
import { join } from "node:path";
import { expect, it } from "vitest";
import { Program } from "../../helpers/program.ts";
import { times } from "../../helpers/volume.ts";

const KILLS = times(25);

it(`nothing is violated, torn, lost, hung or left behind by ${KILLS} random kills`, { timeout: 300_000 }, async () => {
  const script = join(import.meta.dirname, "../random-kill.js");
  const { lines, end } = await outputOf([script, "--kills", String(KILLS)]);
  expect(end.stderr).toBe("");
  const [, json = "{}"] = /^(.*) ok$/.exec(lines.at(-1) ?? "") ?? [];
  expect(JSON.parse(json)).toMatchObject({
    violations: 0,
    torn: 0,
    hangs: 0,
    errors: 0,
    lost: 0,
    stuck: 0,
    leftovers: 0,
  });
  expect(end.code).toBe(0);
});

async function outputOf(args: string[]) {
  const program = new Program(process.execPath, args);
  const lines: string[] = [];
  program.child.stdout?.setEncoding("utf8").on("data", (text: string) => lines.push(...text.trim().split("\n")));
  return { lines, end: await program.ended };
}
