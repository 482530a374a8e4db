// What `ptalk doctor` says of /dev/shm, on one of the test's own.

import { spawnSync } from "node:child_process";
import { afterAll, describe, expect, it } from "vitest";
import { User } from "../helpers/cli.ts";
import { COMMAND } from "../helpers/command.js";
import { whyNoPrivateShm } from "../helpers/privileges.ts";

const user = new User();
afterAll(() => user[Symbol.dispose]());

interface Finding {
  readonly name: string;
  readonly state: string;
  readonly detail: string;
  readonly advice?: string;
}

/** The finding about /dev/shm after `mount` has put something there. */
function finding(mount: string): Finding {
  const command = ["-m", "sh", "-c", `${mount} && exec "$@"`, "sh", ...COMMAND, "doctor", "--json"];
  const { stdout, stderr } = spawnSync("unshare", command, { env: user.env, encoding: "utf8" });
  const findings = JSON.parse(stdout || `"${stderr}"`) as Finding[];
  return findings.find(({ name }) => name === "/dev/shm") as Finding;
}
const tmpfs = (options: string) => finding(`mount -t tmpfs -o ${options} tmpfs /dev/shm`);

describe.skipIf(whyNoPrivateShm !== null)(`/dev/shm${whyNoPrivateShm ? ` (${whyNoPrivateShm})` : ""}`, () => {
  it("with 8 MiB free is large enough; with a page less it is too small, and the way out is named", () => {
    expect(tmpfs("size=8192k,mode=1777")).toMatchObject({ state: "ok", detail: "tmpfs, 8 MiB free" });
    const small = tmpfs("size=8188k,mode=1777");
    expect(small).toMatchObject({ state: "warn", advice: expect.stringMatching(/ptalk ipc --clean.*--shm-size/) });
  });

  it("without a sticky bit lets others remove one's objects", () => {
    expect(tmpfs("size=64m,mode=777")).toMatchObject({ state: "warn", advice: expect.stringContaining("chmod 1777") });
  });

  it("that is no tmpfs is told", () => {
    const other = finding(`mount --bind "$HOME" /dev/shm && chmod 1777 "$HOME"`);
    expect(other).toMatchObject({ state: "warn", detail: expect.stringMatching(/^not a tmpfs, \d+ MiB free$/) });
  });
});
