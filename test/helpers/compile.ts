// C programs of the tests, compiled where the test runs; and the interpreters that can be used.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

/** The C compiler, or null where there is none (tests then skip and say so). */
export const compiler: string | null =
  ["cc", "gcc", "clang"].find((name) => spawnSync(name, ["--version"]).status === 0) ?? null;

/** Compiles one C source; returns the path of the program, or of the library to preload. `remove` takes it away. */
export function compile(
  source: string,
  { library = false }: { library?: boolean } = {},
): { program: string; remove: () => void } {
  if (!compiler) throw new Error("no C compiler here");
  const folder = mkdtempSync(join(tmpdir(), "ptalk-c-"));
  const program = join(folder, basename(source, ".c"));
  const flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", ...(library ? ["-shared", "-fPIC"] : [])];
  const result = spawnSync(compiler, [...flags, "-o", program, source, "-lrt", "-pthread"], { encoding: "utf8" });
  if (result.status !== 0) throw new Error(`${source} does not compile:\n${result.stderr}`);
  return { program, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** What preloads that library into a program; a sanitizer's own stays before it. */
export function preloading(library: { program: string } | undefined): NodeJS.ProcessEnv {
  return { LD_PRELOAD: [process.env["LD_PRELOAD"], library?.program].filter(Boolean).join(":") };
}

/** The first Python 3 that can import those modules, or null. More than one may be installed, not all of them whole. */
export function python(...modules: string[]): string | null {
  const script = modules.map((name) => `import ${name}`).join("\n");
  const usable = (name: string) => spawnSync(name, ["-c", script]).status === 0;
  return ["python3", "/usr/bin/python3", "/usr/local/bin/python3"].find(usable) ?? null;
}
