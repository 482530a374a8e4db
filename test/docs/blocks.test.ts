// Every block of a page that is marked as a shell's (```sh) or a program's (```js) is run as a reader would: pasted, in the page's order, by
// one user, on a host without the source tree's folder (namespaces of its own; skipped where there are none). Blocks that need root, a
// terminal or a checkout (```sh root and the like) are read by the shell, and not run. A page without a block to run fails.
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { COMMAND, commandLine } from "../helpers/command.js";
import { hostCommand, whyNoHosts } from "../helpers/host.ts";

const root = join(import.meta.dirname, "../..");
const PAGES = ["README.md", "docs/TUTORIAL.md", "docs/OPERATIONS.md", "docs/FAQ.md"];
const WATCHDOG_MS = 90_000;

interface Block {
  readonly kind: string;
  readonly text: string;
  readonly line: number;
}

function blocksOf(page: string): Block[] {
  const text = readFileSync(join(root, page), "utf8");
  return [...text.matchAll(/^```([^\n]*)\n(.*?)^```$/gms)].map((match) => ({
    kind: match[1] ?? "",
    text: match[2] ?? "",
    line: text.slice(0, match.index).split("\n").length,
  }));
}

/** Runs the blocks one after the other; gives what the first that failed has said. */
function runAll(page: string, blocks: readonly Block[]): string {
  const home = mkdtempSync(join(tmpdir(), "ptalk-docs-"));
  try {
    mkdirSync(join(home, "bin"));
    mkdirSync(join(home, "work/node_modules"), { recursive: true });
    symlinkSync(root, join(home, "work/node_modules/ptalk"));
    writeFileSync(join(home, "bin/ptalk"), `#!/bin/sh\nexec ${COMMAND.map((word) => `"${word}"`).join(" ")} "$@"\n`);
    chmodSync(join(home, "bin/ptalk"), 0o755);
    const steps = blocks.map(({ kind, text, line }) => {
      const file = `block${line}.${kind === "js" ? "mjs" : "sh"}`;
      writeFileSync(join(home, "work", file), text);
      const run = kind === "js" ? `"${process.execPath}" ${file}` : `bash -eu ${file}`;
      return `${run} >said 2>&1 || { status=$?; echo "${page}, line ${line}: status $status"; cat said; exit 1; }`;
    });
    writeFileSync(join(home, "work/all.sh"), `${steps.join("\n")}\n`);
    const [command, args] = hostCommand(["bash", "all.sh"]);
    const { status, stdout, stderr, error } = spawnSync(command, args, {
      cwd: join(home, "work"),
      env: { HOME: home, PATH: `${join(home, "bin")}:/usr/local/bin:/usr/bin:/bin`, LANG: "C.UTF-8" },
      encoding: "utf8",
      timeout: WATCHDOG_MS,
      killSignal: "SIGKILL",
    });
    return status === 0 ? "" : `${error?.message ?? ""}${stdout}${stderr}`;
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

describe.each(PAGES)("%s", (page) => {
  const blocks = blocksOf(page);
  const runnable = blocks.filter(({ kind }) => kind === "sh" || kind === "js");

  it("has commands to run", () => {
    expect(runnable.length).toBeGreaterThan(0);
  });

  it.skipIf(whyNoHosts !== null)(`runs as it is printed (${runnable.length} blocks)`, () => {
    expect(runAll(page, runnable)).toBe("");
  });

  it.each(blocks.filter(({ kind }) => kind.startsWith("sh")))("line $line: the shell can read it", ({ text }) => {
    const { status, stderr } = spawnSync("bash", ["-n"], { input: text, encoding: "utf8" });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });
});

describe("every setting", () => {
  const { stdout } = spawnSync(...commandLine(["config", "--json"]), {
    encoding: "utf8",
    env: { HOME: "/nonexistent", PATH: process.env["PATH"] },
  });
  const keys = (JSON.parse(stdout) as { key: string }[]).map(({ key }) => key.replace(/^serve\./, ""));

  it("is in contrib/config.toml, commented", () => {
    const lines = readFileSync(join(root, "contrib/config.toml"), "utf8");
    expect(keys.filter((key) => !new RegExp(`^#${key} = `, "m").test(lines))).toEqual([]);
  });

  it("is in ptalk.toml(5)", () => {
    const page = readFileSync(join(root, "man/ptalk.toml.5"), "utf8");
    expect(keys.filter((key) => !new RegExp(`^\\.It Cm ${key}( |$)`, "m").test(page))).toEqual([]);
  });
});

describe("docs/OPERATIONS.md", () => {
  it("explains log lines that the server writes", () => {
    const page = readFileSync(join(root, "docs/OPERATIONS.md"), "utf8");
    const table = page.slice(page.indexOf("| line | means |"), page.indexOf("## Upgrade"));
    const lines = [...table.matchAll(/^\| (`[^|]+`) \|/gm)].flatMap(
      ([, cell = ""]) => cell.match(/[^`,]{3,}(?:, [^`]+)?/g) ?? [],
    );
    const sources = spawnSync("grep", ["-rhE", '"[a-z][^"]+"', join(root, "lib/server"), join(root, "lib/directory")], {
      encoding: "utf8",
    }).stdout;
    expect(lines.length).toBeGreaterThan(5);
    expect(lines.map((line) => line.trim()).filter((line) => line !== "" && !sources.includes(`"${line}`))).toEqual([]);
  });
});
