// mkdir -p for folders that only their owner may enter. Imports nothing of ptalk.
import { existsSync, mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";

/**
 * Makes the folder, and those above it, if they are not there. Level by level: Node 20's own recursion never ends where the system
 * says ENOENT under a folder that exists (/proc).
 * @throws the system's error (EACCES, ENOENT, ENOTDIR, ENOSPC...)
 */
export function makeFolder(path: string): void {
  const above = dirname(path);
  if (above !== path && !existsSync(above)) makeFolder(above);
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw error;
  }
}
