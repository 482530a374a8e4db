// Which tests can notice a change to a module, and in which order to ask them: those that are about it; those that speak of what it
// is called after; then all others that load it or run whole programs, which may load anything. Read off names and imports.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, relative, sep } from "node:path";

const IMPORT = /(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g;
/** How a test reaches the built program: by its command, or by what the library's users import. */
const RUNS_PROGRAMS = /bin\/ptalk\.js|dist\/|fixtures\//;

interface Reach {
  /** Modules of lib/, with the length of the shortest way to each. */
  readonly modules: ReadonlyMap<string, number>;
  readonly runsPrograms: boolean;
  readonly words: ReadonlySet<string>;
}

const WORD = /[a-z]+/g;
/** Shorter words of a module's name say nothing of it. */
const LEAST_WORD = 3;
const wordsOf = (text: string): string[] => text.toLowerCase().match(WORD) ?? [];

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
   * The tests that can notice a change of that file, in groups: the first has those that are about it, the second those with the words
   * of its name.
   * @param file from the root; the addon's sources are reached by everything that imports lib/native.ts
   */
  of(file: string): string[][] {
    const module = file.startsWith("native/") ? "lib/native.ts" : file;
    const area = areaOf(file);
    const name = wordsOf(basename(file)).filter((word) => word.length >= LEAST_WORD);
    const [near, named, far]: [string[], string[], string[]] = [[], [], []];
    for (const [test, { modules, runsPrograms, words }] of this.#tests) {
      const distance = modules.get(module);
      const isAbout = area.some((folder) => test.startsWith(folder));
      if (isAbout || distance === 1) near.push(test);
      else if (distance === undefined && !runsPrograms) continue;
      else if (name.length > 0 && name.every((word) => words.has(word))) named.push(test);
      else far.push(test);
    }
    return [near, named, far].filter((group) => group.length > 0);
  }

  #reach(test: string): Reach {
    const distances = new Map([[test, 0]]);
    const queue = [test];
    let runsPrograms = false;
    let words: ReadonlySet<string> = new Set();
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const source = readFileSync(join(this.#root, file), "utf8");
      if (file === test) words = new Set(wordsOf(source));
      if (file.startsWith(`test${sep}`) && RUNS_PROGRAMS.test(source)) runsPrograms = true;
      for (const [, path = ""] of source.matchAll(IMPORT)) {
        const imported = relative(this.#root, join(this.#root, dirname(file), path));
        if (distances.has(imported) || !existsSync(join(this.#root, imported))) continue;
        distances.set(imported, (distances.get(file) ?? 0) + 1);
        if (imported.endsWith(".ts")) queue.push(imported);
      }
    }
    const modules = [...distances].filter(([file]) => file.startsWith(`lib${sep}`));
    return { modules: new Map(modules), runsPrograms, words };
  }
}

/** Folders of tests that are about a source, by the names that both have. */
function areaOf(file: string): string[] {
  if (file.startsWith("native/")) return ["test/ipc/", "test/interop/", "test/conformance/"];
  const folder = dirname(file).replace(/^lib/, "test");
  return [`${folder}/`, ...(folder.startsWith("test/ipc/lock") ? ["test/crash/lock/"] : [])];
}
