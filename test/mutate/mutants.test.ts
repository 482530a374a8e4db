// The mutation runner's own tests: what it changes, how it shows it, and whom it asks.
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { applied, difference, mutantsOf } from "./mutants.ts";
import { Relevance } from "./relevant.ts";

const changes = (file: string, source: string) =>
  mutantsOf(file, source).map((mutant) => [mutant.kind, applied(source, mutant)]);

describe("changes of TypeScript", () => {
  it.each([
    ["a < b;", ["boundary", "a <= b;"]],
    ["a === b;", ["operator", "a !== b;"]],
    ["x = a && b;", ["operator", "x = a || b;"]],
    ["i++;", ["operator", "i--;"]],
    ["x += 3;", ["operator", "x -= 3;"]],
    ["x = 30;", ["constant", "x = 31;"]],
    ["x = 30;", ["constant", "x = 300;"]],
    ["x = true;", ["constant", "x = false;"]],
    ["if (a) f();", ["condition", "if (!(a)) f();"]],
    ["x = !a;", ["condition", "x = a;"]],
    ["x = a ? b : c;", ["condition", "x = c;"]],
    ["f(a);", ["statement", ";"]],
    ["function f(): void { g(); }", ["return", "function f(): void { return; }"]],
    ["class A { f(): void { g(); } }", ["return", "class A { f(): void { return; } }"]],
    ["é = a + b;", ["operator", "é = a - b;"]],
  ])("%s", (source, change) => {
    expect(changes("lib/x.ts", source)).toContainEqual(change);
  });

  it("leaves types, imports and what is only told alone", () => {
    const source = 'import { x } from "./x.ts";\ntype A = 1 | 2;\ninterface B { c: 3 }\ndebug("here");\nlet d: 4;\n';
    expect(changes("lib/x.ts", source)).toEqual([]);
  });

  it("are possible in every module, and each is a change", async () => {
    const source = "export const f = (a: number): number => (a > 1 ? a * 2 : a);\n";
    for (const [, changed] of changes("lib/x.ts", source)) expect(changed).not.toBe(source);
  });
});

describe("changes of C++", () => {
  it.each([
    ["  if (a < b) c();", ["boundary", "  if (a <= b) c();"]],
    ["  counter.fetch_sub(1);", ["statement", "  ;"]],
    ["  size = 16;", ["constant", "  size = 17;"]],
    ["  if (fd < 0) return -1;", ["condition", "  ;"]],
    ["  a == b && c;", ["operator", "  a == b || c;"]],
  ])("%s", (source, change) => {
    expect(changes("native/x.cc", source)).toContainEqual(change);
  });

  it("leaves comments and directives alone", () => {
    expect(changes("native/x.cc", "// a < b, 3\n#include <x>\n#define N 3\n")).toEqual([]);
  });
});

it("shows the lines that differ", () => {
  const source = "one();\nif (a < b) {\n  two();\n}\n";
  const [boundary] = mutantsOf("lib/x.ts", source).filter(({ kind }) => kind === "boundary");
  expect(boundary && difference(source, boundary)).toBe("- if (a < b) {\n+ if (a <= b) {");
  const body = "function f() {\n  a();\n  b();\n}\nc();\n";
  const [early] = mutantsOf("lib/x.ts", body).filter(({ kind }) => kind === "return");
  expect(early && difference(body, early)).toBe(
    "- function f() {\n-   a();\n-   b();\n- }\n+ function f() { return; }",
  );
});

describe("the tests that are asked", () => {
  const relevance = new Relevance(join(import.meta.dirname, "../.."));

  it("are those about the module first, then all that can reach it", () => {
    const [near, far] = relevance.of("lib/ipc/lock/wait.ts");
    expect(near).toContain("test/ipc/lock/waiting.test.ts");
    expect(near).toContain("test/crash/lock/every-step.test.ts");
    expect(far?.some((test) => test.startsWith("test/server/"))).toBe(true);
    expect(near?.filter((test) => far?.includes(test))).toEqual([]);
  });

  it("of the addon are the ipc tests first", () => {
    const [near] = relevance.of("native/wait.cc");
    expect(near).toContain("test/ipc/semaphore-wait.test.ts");
  });

  it("are none that neither import it nor run a program", () => {
    const asked = relevance.of("lib/cli/terminal/line.ts").flat();
    expect(asked).toContain("test/cli/terminal/line.test.ts");
    expect(asked).not.toContain("test/package/links.test.ts");
    expect(asked.length).toBeLessThan(relevance.tests.length);
  });
});
