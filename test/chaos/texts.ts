// The texts of a run: each has a token of its own, and can be checked to the last byte by itself.
import { createHash } from "node:crypto";

const SHAPE = /^#(\d+\.\d+)\/(\d+)# (.*)$/s;

/** @param token "RUN.NUMBER": numbers of one run ascend */
export function textOf(token: string, size: number): string {
  return `#${token}/${size}# ${filling(token, size)}`;
}

export function readText(text: string): { token: string | null; whole: boolean } {
  const [, token, size, rest] = SHAPE.exec(text) ?? [];
  if (token === undefined) return { token: null, whole: false };
  return { token, whole: rest === filling(token, Number(size)) };
}

/** The run and the number within it that a token names. */
export function partsOf(token: string): { run: number; number: number } {
  const [run = 0, number = 0] = token.split(".").map(Number);
  return { run, number };
}

function filling(token: string, size: number): string {
  const unit = createHash("sha256").update(token).digest("base64url");
  return unit.repeat(Math.ceil(size / unit.length)).slice(0, size);
}
