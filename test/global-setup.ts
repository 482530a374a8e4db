// All that the tests put into the folder for temporary files lies in one of the run's own, which goes with it, whatever became of a test.
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), "pt-"));
  chmodSync(folder, 0o1777); // tests become other users
  process.env["TMPDIR"] = folder;
  // Each test makes users with new homes, and each home would have the command compiled anew: twice the time of most commands.
  process.env["XDG_CACHE_HOME"] = join(folder, "cache");
  mkdirSync(process.env["XDG_CACHE_HOME"], { mode: 0o700 });
  return () => rmSync(folder, { recursive: true, force: true });
}
