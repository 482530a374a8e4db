// Inputs that have broken something once: one JSON file each, test/corpus/TARGET/HASH.json. They are tried again by the tests.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const CORPUS = join(import.meta.dirname, "../corpus");
const HASH_DIGITS = 16;

export interface Kept {
  readonly input: unknown;
  /** What it broke, when it was found. */
  readonly broke: string;
}

/** @returns the file */
export function keep(target: string, { input, broke }: Kept): string {
  const hash = createHash("sha256").update(JSON.stringify(input)).digest("hex").slice(0, HASH_DIGITS);
  mkdirSync(join(CORPUS, target), { recursive: true });
  const file = join(CORPUS, target, `${hash}.json`);
  writeFileSync(file, `${JSON.stringify({ broke, input }, null, 2)}\n`);
  return file;
}

/** What is kept of a target, by file. */
export function corpusOf(target: string): [file: string, kept: Kept][] {
  const folder = join(CORPUS, target);
  if (!existsSync(folder)) return [];
  return readdirSync(folder).map((file) => [file, JSON.parse(readFileSync(join(folder, file), "utf8")) as Kept]);
}
