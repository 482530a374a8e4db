// Which tests can notice a change to a module, and in which order to ask them: those that import it, the nearer the sooner; then
// those that run whole programs, which may load anything. Read off the imports.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";

const IMPORT = /(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g;
/** How a test reaches the built program: by its command, or by what the library's users import. */
const RUNS_PROGRAMS = /bin\/ptalk\.js|dist\/|fixtures\//;

interface Reach {
  /** Modules of lib/, with the length of the shortest way to each. */
  readonly modules: ReadonlyMap<string, number>;
  readonly runsPrograms: boolean;
}

export class Relevance {
  readonly #root: string;
  readonly #tests: ReadonlyMap<string, Reach>;

  constructor(root: string) {
    this.#root = root;
    const files = readdirSync(join(root, "test"), { recursive: true, encoding: "utf8" });
    const tests = files.filter((file) => file.endsWith(".test.ts")).map((file) => join("test", file));
    this.#tests = new Map(tests.map((test) => [test, this.#reach(test)]));
  }

  get tests(): string[] {
    return [...this.#tests.keys()];
  }

  /**
   * The tests that can notice a change of that file, in groups: the first has those that are about it.
   * @param file from the root; the addon's sources are reached by everything that imports lib/native.ts
   */
  of(file: string): string[][] {
    const module = file.startsWith("native/") ? "lib/native.ts" : file;
    const area = areaOf(file);
    const near: string[] = [];
    const far: string[] = [];
    for (const [test, { modules, runsPrograms }] of this.#tests) {
      const distance = modules.get(module);
      const isAbout = area.some((folder) => test.startsWith(folder));
      if (isAbout || distance === 1) near.push(test);
      else if (distance !== undefined || runsPrograms) far.push(test);
    }
    return [near, far].filter((group) => group.length > 0);
  }

  #reach(test: string): Reach {
    const distances = new Map([[test, 0]]);
    const queue = [test];
    let runsPrograms = false;
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const source = readFileSync(join(this.#root, file), "utf8");
      if (file.startsWith(`test${sep}`) && RUNS_PROGRAMS.test(source)) runsPrograms = true;
      for (const [, path = ""] of source.matchAll(IMPORT)) {
        const imported = relative(this.#root, join(this.#root, dirname(file), path));
        if (distances.has(imported) || !existsSync(join(this.#root, imported))) continue;
        distances.set(imported, (distances.get(file) ?? 0) + 1);
        if (imported.endsWith(".ts")) queue.push(imported);
      }
    }
    const modules = [...distances].filter(([file]) => file.startsWith(`lib${sep}`));
    return { modules: new Map(modules), runsPrograms };
  }
}

/** Folders of tests that are about a source, by the names that both have. */
function areaOf(file: string): string[] {
  if (file.startsWith("native/")) return ["test/ipc/", "test/interop/", "test/conformance/"];
  const folder = dirname(file).replace(/^lib/, "test");
  return [`${folder}/`, ...(folder.startsWith("test/ipc/lock") ? ["test/crash/lock/"] : [])];
}
