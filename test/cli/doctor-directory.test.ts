// What `ptalk doctor` says of the directory that the host's server shares: a real etcd, whole, in trouble, and away.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { Finding } from "../../lib/cli/doctor/check.ts";
import { User } from "../helpers/cli.ts";
import { EtcdCluster, etcdMissing } from "../helpers/etcd.ts";

async function findings(user: User, settings: string): Promise<Finding[]> {
  const folder = join(user.home, "config", "ptalk");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config.toml"), `[serve]\n${settings}\n`, { mode: 0o600 });
  const { stdout } = await user.run(["doctor", "--json"]);
  return (JSON.parse(stdout) as Finding[]).filter(({ name }) => name === "directory");
}

describe("doctor, of a shared directory", () => {
  it("says nothing where there is none", async () => {
    using user = new User();
    expect(await findings(user, "")).toEqual([]);
  });

  it("names a setting that cannot be, and a member that is not there", async () => {
    using user = new User();
    expect(await findings(user, 'directory = "etcd://127.0.0.1:9"')).toMatchObject([
      { state: "fail", detail: expect.stringContaining("a prefix is missing") },
    ]);
    expect(await findings(user, 'directory = "etcd://127.0.0.1:9/ptalk"')).toMatchObject([
      { state: "fail", detail: expect.stringMatching(/^etcd at 127\.0\.0\.1:9: .*ECONNREFUSED/) },
    ]);
    const settings = 'directory = "etcd://127.0.0.1:9/ptalk"\ndirectory-ca = "/nowhere/ca.pem"';
    expect(await findings(user, settings)).toMatchObject([
      { state: "warn", detail: expect.stringContaining("/nowhere/ca.pem"), advice: expect.stringContaining("user") },
    ]);
  });

  it.skipIf(etcdMissing !== null)(
    `names each member, why 3.4 is too old, one that is away, and a full engine (${etcdMissing ?? "runs"})`,
    async () => {
      using user = new User();
      await using cluster = await EtcdCluster.start({ flags: ["--quota-backend-bytes", "200000"] });
      const [member] = cluster.members;
      const settings = `directory = "etcd://${member},127.0.0.1:9/ptalk"`;
      const [first, second, ...more] = await findings(user, settings);
      const version = /^etcd (\d+\.\d+)\.(\d+) at /.exec(first?.detail ?? "");
      expect(first?.detail).toContain(`at ${member}`);
      if (version?.[1] === "3.4") {
        expect(first).toMatchObject({ state: "warn", detail: expect.stringContaining("2026-06-01") });
        expect(first?.detail.includes("etcd#18475")).toBe(Number(version[2]) < 42);
      } else expect(first?.state).toBe("ok");
      expect(second).toMatchObject({ state: "warn", detail: expect.stringContaining("127.0.0.1:9") });
      expect(more).toEqual([]);
      const fill = async () => {
        for (let i = 0; i < 100; i++) await cluster.ctl(["put", `filling/${i}`, "x".repeat(20_000)]);
      };
      await expect(fill()).rejects.toThrow("database space exceeded");
      expect(await findings(user, settings)).toContainEqual(
        expect.objectContaining({ state: "fail", detail: expect.stringContaining("NOSPACE") }),
      );
    },
  );
});
