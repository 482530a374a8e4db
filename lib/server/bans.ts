// Users and keys that an administrator keeps out for a time. The primary has the list, and gives a copy to each worker.
import { readFileSync } from "node:fs";
import { replaceFile } from "../base/files.ts";
import { systemCode } from "../base/system-error.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import type { Log } from "./log.ts";

/** Bans at once: each is looked at by a person, and every worker has a copy. */
export const MAX_BANS = 1024;

export interface Ban {
  /** The digits of a uid, or a key's fingerprint. */
  readonly target: string;
  /** Milliseconds since the epoch. */
  readonly until: number;
  /** The administrator, as text. */
  readonly by: string;
}

export class Bans {
  readonly #bans = new Map<string, Ban>();

  constructor(bans: readonly Ban[] = []) {
    this.replace(bans);
  }

  /** Those that have not run out. */
  get list(): readonly Ban[] {
    const now = Date.now();
    for (const { target, until } of this.#bans.values()) if (until <= now) this.#bans.delete(target);
    return [...this.#bans.values()];
  }

  /** Some user is banned. */
  get hasUids(): boolean {
    return this.#bans.size > 0 && this.list.some(({ target }) => isUid(target));
  }

  replace(bans: readonly Ban[]): void {
    this.#bans.clear();
    for (const ban of bans) this.#bans.set(ban.target, ban);
  }

  /** @returns false: there are {@link MAX_BANS} */
  add(ban: Ban): boolean {
    if (!this.#bans.has(ban.target) && this.list.length >= MAX_BANS) return false;
    this.#bans.set(ban.target, ban);
    return true;
  }

  /** @returns whether there was one */
  remove(target: string): boolean {
    return this.of(target) !== null && this.#bans.delete(target);
  }

  /** @param target see {@link Ban} */
  of(target: string): Ban | null {
    if (this.#bans.size === 0) return null;
    const ban = this.#bans.get(target);
    return ban !== undefined && ban.until > Date.now() ? ban : null;
  }

  /** @param key base64 */
  ofKey(key: string): Ban | null {
    return this.#bans.size === 0 ? null : this.of(fingerprint(Buffer.from(key, "base64")));
  }
}

export const isUid = (target: string): boolean => /^\d/.test(target);

/** For the banned: how long, and by whom. */
export function banText({ target, until, by }: Ban): string {
  return `${isUid(target) ? "your user" : "this key"} is banned until ${new Date(until).toISOString()} by ${by}`;
}

/** The bans of the server before this one. The log names a file that is damaged: its bans do not hold any more. */
export function readBans(path: string, log: Log): Ban[] {
  let found: unknown;
  try {
    found = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    if (systemCode(error) !== "ENOENT") log.error("the bans cannot be read, and do not hold", { path, error });
    return [];
  }
  const bans = Array.isArray(found) ? found.filter(isBan) : [];
  if (!Array.isArray(found) || bans.length < found.length) {
    log.error("the file of the bans is damaged, and some do not hold", { path, read: bans.length });
  }
  return bans.slice(0, MAX_BANS);
}

/** @throws the system's error */
export async function writeBans(path: string, bans: readonly Ban[]): Promise<void> {
  await replaceFile(path, `${JSON.stringify(bans)}\n`);
}

function isBan(value: unknown): value is Ban {
  if (typeof value !== "object" || value === null) return false;
  const { target, until, by } = value as Record<string, unknown>;
  return typeof target === "string" && typeof until === "number" && typeof by === "string";
}
