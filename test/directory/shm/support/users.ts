// Users that nobody else is: their local tables are the test's own. Only root can become one.
import { randomInt } from "node:crypto";
import { accessSync, constants, readdirSync, rmSync } from "node:fs";

export const isRoot = process.geteuid?.() === 0;
/** Why tests with other users are left out elsewhere. */
export const NEEDS_ROOT = "needs root, to become other users";

const given = new Set<number>();

/** A uid that is in no passwd and in no other test. */
export function freshUid(): number {
  for (;;) {
    const uid = 1_000_000 + randomInt(1_000_000_000);
    if (!given.has(uid)) {
      given.add(uid);
      return uid;
    }
  }
}

/** Files in /dev/shm that bear this user's name. */
export function filesOf(uid: number): string[] {
  accessSync("/dev/shm", constants.R_OK);
  return readdirSync("/dev/shm").filter((file) => new RegExp(`^ptalk-host-${uid}(\\.|$)`).test(file));
}

export function sweepUsers(): void {
  for (const uid of given)
    for (const file of filesOf(uid)) rmSync(`/dev/shm/${file}`, { recursive: true, force: true });
}
