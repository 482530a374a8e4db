// The programs in other languages that the interop tests run against: test/fixtures/interop/peer.c and peer.py.
import { join } from "node:path";
import { afterAll, afterEach } from "vitest";
import { compile, compiler, python } from "./compile.ts";
import { Program } from "./program.ts";

const fixtures = join(import.meta.dirname, "../fixtures/interop");
const interpreter = python("ctypes", "multiprocessing.shared_memory");

export interface Language {
  readonly language: string;
  /** Why this one cannot be tested here, or null. */
  readonly missing: string | null;
  start(): Program;
}

/** C and Python. What was started and compiled goes with the test that called for it. */
export function peers(): Language[] {
  const running: Program[] = [];
  let compiled: ReturnType<typeof compile> | undefined;
  afterEach(async () => {
    await Promise.all(running.splice(0).map((program) => program.kill()));
  });
  afterAll(() => compiled?.remove());
  const started = (program: Program) => {
    running.push(program);
    return program;
  };
  return [
    {
      language: "C",
      missing: compiler ? null : "no C compiler here",
      start: () => {
        compiled ??= compile(join(fixtures, "peer.c"));
        return started(new Program(compiled.program, []));
      },
    },
    {
      language: "Python",
      missing: interpreter ? null : "no Python with ctypes and multiprocessing.shared_memory here",
      start: () => started(new Program(interpreter as string, [join(fixtures, "peer.py")])),
    },
  ];
}
