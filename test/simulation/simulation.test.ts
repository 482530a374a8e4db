// Lives of clients and servers in virtual time (life.ts), one of them; `npm run simulate` lives as many as there is time for. They run in
// processes of their own, whose clocks, timers, sockets and randomness are the world's.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
/** Ends what hangs. */
const WATCHDOG_MS = 100_000;

function simulate(...args: string[]): Promise<{ readonly isWell: boolean; readonly said: string }> {
  const command = [join(ROOT, "scripts/simulate.js"), ...args];
  return new Promise((resolve) => {
    execFile(process.execPath, command, { timeout: WATCHDOG_MS }, (error, stdout, stderr) => {
      resolve({ isWell: error === null, said: stdout + stderr });
    });
  });
}

describe("people and servers whose programs, machines and networks fail", () => {
  it("say and see nothing wrong, and live the same life again with the same seed", async () => {
    const { isWell, said } = await simulate("--seed", "4", "--people", "8", "--ms", "15000", "--twice");
    expect(isWell, said).toBe(true);
    expect(said).toMatch(/^1 lives, \d{5,} steps, .* 0 violations/);
  });

  it("are found out when the shipped classes do something wrong", async () => {
    const faults = [
      "confirmed before it is shown",
      "shown though its sender has given it up",
      "a message may overtake the one before it",
    ];
    const { isWell, said } = await simulate("--planted", ...faults);
    expect(isWell, said).toBe(true);
    for (const fault of faults) expect(said).toMatch(new RegExp(`^${fault}: seed \\d+ `, "m"));
  });
});
