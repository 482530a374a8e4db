// Names of IPC objects for one test file: unique on the machine, and taken away at the end whatever happened.
import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

const DIRECTORY = "/dev/shm";

export class ObjectNames {
  readonly prefix: string;
  #count = 0;

  constructor(what: string) {
    // Not "/ptalk-…": those are for `ptalk ipc --clean` to take away, whoever runs it meanwhile.
    this.prefix = `/test-ptalk-${what}-${process.pid}-${randomBytes(4).toString("hex")}`;
  }

  /** A name ("/…") not used before. */
  fresh(): string {
    return `${this.prefix}-${this.#count++}`;
  }

  /** Files under /dev/shm that carry this prefix, semaphores ("sem.…") included. */
  files(): string[] {
    const plain = this.prefix.slice(1);
    return readdirSync(DIRECTORY).filter((file) => file.startsWith(plain) || file.startsWith(`sem.${plain}`));
  }

  /** Removes what a failed test left. */
  sweep(): void {
    for (const file of this.files()) rmSync(join(DIRECTORY, file), { recursive: true, force: true });
  }
}

export function segmentFile(name: string): string {
  return join(DIRECTORY, name.slice(1));
}

export function semaphoreFile(name: string): string {
  return join(DIRECTORY, `sem.${name.slice(1)}`);
}

export function exists(file: string): boolean {
  return existsSync(file);
}
