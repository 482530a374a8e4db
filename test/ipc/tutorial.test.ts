// docs/IPC-TUTORIAL.md: each of its programs runs, prints what stands there, and leaves nothing behind.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { requireFreshBuild } from "../helpers/fresh-build.ts";
import { Program } from "../helpers/program.ts";

const root = join(import.meta.dirname, "../..");
const page = readFileSync(join(root, "docs/IPC-TUTORIAL.md"), "utf8");
const steps = page.split(/^## /m).slice(1);
const programs = readdirSync(join(root, "examples/ipc")).sort();

interface Step {
  readonly title: string;
  readonly file: string;
  readonly printed: string[];
  readonly excerpt: string[];
}

function read(step: string): Step {
  const [, file = "", printed = ""] =
    /^```console\n\$ node (examples\/ipc\/[\w-]+\.js)\n([\s\S]*?)\n```$/m.exec(step) ?? [];
  const [, excerpt = ""] = /^```js\n([\s\S]*?)\n```$/m.exec(step) ?? [];
  return { title: step.split("\n")[0] ?? "", file, printed: printed.split("\n"), excerpt: excerpt.split("\n") };
}

describe("the tutorial", () => {
  test("has ten steps, and every program of the folder is one of them", () => {
    expect(steps.map((step) => /^\d+/.exec(step)?.[0])).toEqual(Array.from({ length: 10 }, (_, i) => String(i + 1)));
    expect(steps.map((step) => read(step).file)).toEqual(programs.map((program) => `examples/ipc/${program}`));
  });

  test.each(steps.map(read))("step $title", async ({ file, printed, excerpt }) => {
    requireFreshBuild();
    const source = readFileSync(join(root, file), "utf8");
    expect(excerpt.filter((line) => !source.includes(line))).toEqual([]);
    const program = new Program(process.execPath, [join(root, file)]);
    const lines: string[] = [];
    for (const _ of printed) lines.push(await program.line());
    const { pid } = program;
    expect(lines).toEqual(printed);
    expect(await program.ended).toEqual({ code: 0, signal: null, stderr: "" });
    expect(readdirSync("/dev/shm").filter((name) => name.includes(`tutorial-${pid}`))).toEqual([]);
  });
});
