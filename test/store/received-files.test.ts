// The names that files from elsewhere get, and the parts that are kept of them.
import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { PartFile } from "../../lib/store/files/parts.ts";
import { safeFileName } from "../../lib/store/files/place.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ptalk-parts-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const identityOf = (content: Buffer) => ({
  key: Buffer.alloc(32, 1),
  size: content.length,
  sha256: createHash("sha256").update(content).digest(),
});

describe("a name from elsewhere", () => {
  it.each([
    ["report.pdf", "report.pdf"],
    ["../../etc/passwd", "passwd"],
    ["/etc/cron.d/x", "x"],
    ["..", "_."],
    [".", "_"],
    ["", "file"],
    ["dir/", "file"],
    ["-n", "_n"],
    [".profile", "_profile"],
    ["a\0b", "a_b"],
    ["a\nb\x1b]0;x\x07", "a_b_]0;x_"],
  ])("%j is %j here", (name, safe) => {
    expect(safeFileName(name)).toBe(safe);
  });

  it("is always one that a folder takes, and that no shell or terminal takes for something else", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 400 }), (name) => {
        const safe = safeFileName(name);
        expect(Buffer.byteLength(safe)).toBeLessThanOrEqual(255);
        expect(safe).toMatch(/^[^/\0.-][^/\0\p{Cc}\p{Cf}]*$/u);
      }),
    );
  });
});

describe("a part", () => {
  it("is hashed again, and becomes the file when it is whole", async () => {
    const content = randomBytes(3_000_000);
    const first = await PartFile.open(folder, identityOf(content));
    expect(await first.resume()).toBe(0);
    await first.write([content.subarray(0, 1_000_000), content.subarray(1_000_000, 1_500_000)]);
    expect(first.isWhole()).toBe(false);
    await first.keep();
    const second = await PartFile.open(folder, identityOf(content));
    expect(await second.resume()).toBe(1_500_000);
    await second.write([content.subarray(1_500_000)]);
    expect(second.isWhole()).toBe(true);
    const placed = await second.place(folder, "x");
    expect(readFileSync(placed).equals(content)).toBe(true);
    expect(readdirSync(folder)).toEqual(["x"]);
  });

  it("is one receiver's at a time", async () => {
    const content = randomBytes(10);
    const first = await PartFile.open(folder, identityOf(content));
    await expect(PartFile.open(folder, identityOf(content))).rejects.toMatchObject({ code: "refused" });
    await first.discard();
    await (await PartFile.open(folder, identityOf(content))).keep();
  });

  it("is one sender's: the same file of another has its own", async () => {
    const content = randomBytes(10);
    const [ann, ben] = [identityOf(content), { ...identityOf(content), key: randomBytes(32) }];
    const first = await PartFile.open(folder, ann);
    await first.write([content.subarray(0, 4)]);
    await first.keep();
    const second = await PartFile.open(folder, ben);
    expect(await second.resume()).toBe(0);
    await second.keep();
    expect(readdirSync(folder)).toHaveLength(2);
  });

  it.skipIf(!hasStrace())(
    "is synced, linked under its name, and the folder synced, in this order, before it is told",
    () => {
      const trace = join(folder, "trace");
      const calls = "trace=fsync,fdatasync,link,linkat,write";
      const program = join(import.meta.dirname, "../fixtures/store/place.js");
      const args = ["-f", "-y", "-o", trace, "-e", calls, process.execPath, program, folder];
      expect(spawnSync("strace", args, { encoding: "utf8" }).stdout).toBe("placed\n");
      const lines = readFileSync(trace, "utf8").split("\n");
      const at = (pattern: RegExp): number => lines.findIndex((line) => pattern.test(line));
      const steps = [
        at(/f(data)?sync\(\d+<[^>]*\/parts\//),
        at(/link(at)?\(.*\/parts\/.*\/in\/file/),
        at(/fsync\(\d+<[^>]*\/in>/),
        at(/write\(1<.*placed/),
      ];
      expect(steps).not.toContain(-1);
      expect(steps).toEqual([...steps].sort((a, b) => a - b));
    },
  );

  it("that is longer than the file begins anew", async () => {
    const content = randomBytes(10);
    await (await PartFile.open(folder, identityOf(content))).keep();
    const [name = ""] = readdirSync(folder);
    writeFileSync(join(folder, name), Buffer.alloc(11));
    const part = await PartFile.open(folder, identityOf(content));
    expect(await part.resume()).toBe(0);
    await part.write([content]);
    expect(part.isWhole()).toBe(true);
    await part.discard();
    expect(readdirSync(folder)).toEqual([]);
  });

  it("is kept for seven days, and 32 of them, the latest; one that is being received stays", async () => {
    const days = (count: number): Date => new Date(Date.now() - count * 86_400_000);
    const busy = await PartFile.open(folder, identityOf(randomBytes(5)));
    const [busyName = ""] = readdirSync(folder);
    utimesSync(join(folder, busyName), days(8), days(8));
    for (let i = 0; i < 40; i++) {
      writeFileSync(join(folder, `${i}.part`), "");
      utimesSync(join(folder, `${i}.part`), days(i / 10), days(i / 10));
    }
    writeFileSync(join(folder, "old.part"), "");
    utimesSync(join(folder, "old.part"), days(7.1), days(7.1));
    const part = await PartFile.open(folder, identityOf(randomBytes(6)));
    const left = readdirSync(folder);
    expect(left).not.toContain("old.part");
    expect(left).toContain(busyName);
    expect(left).toContain("0.part");
    expect(left).not.toContain("39.part");
    expect(left.length).toBe(33);
    await part.discard();
    await busy.discard();
  });
});

function hasStrace(): boolean {
  return spawnSync("strace", ["-V"]).status === 0;
}
