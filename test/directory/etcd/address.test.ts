// The address of the directory's engine, and what belongs to it.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generate } from "selfsigned";
import { afterAll, describe, expect, it } from "vitest";
import { TalkError } from "../../../lib/base/errors.ts";
import { parseEtcdAddress, readEtcdAccess } from "../../../lib/directory/etcd/address.ts";

const folder = mkdtempSync(join(tmpdir(), "ptalk-etcd-address-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, contents: string, mode = 0o600): string {
  const path = join(folder, name);
  writeFileSync(path, contents, { mode });
  return path;
}

function refusal(act: () => unknown): TalkError {
  try {
    act();
  } catch (error) {
    if (error instanceof TalkError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

describe("the address of etcd", () => {
  it.each([
    ["etcd://a:2379/ptalk", ["a:2379"], "/ptalk"],
    [
      "etcd://10.0.0.1:2379,10.0.0.2:2379,[::1]:2380/site/ptalk/",
      ["10.0.0.1:2379", "10.0.0.2:2379", "[::1]:2380"],
      "/site/ptalk",
    ],
    ["etcd://Etcd.Example.:2379/p", ["etcd.example:2379"], "/p"],
  ])("%s", (text, members, prefix) => {
    expect(parseEtcdAddress(text)).toEqual({ members, prefix });
  });

  it.each([
    ["", "expected etcd://"],
    ["http://a:2379/p", "expected etcd://"],
    ["etcd://a:2379", "prefix is missing"],
    ["etcd://a:2379/", "prefix is missing"],
    ["etcd://a/p", "no HOST:PORT"],
    ["etcd://a:2379,/p", "no HOST:PORT"],
    ["etcd:///p", "no HOST:PORT"],
    ["etcd://a:0/p", "port must be 1 to 65535"],
    ["etcd://a:70000/p", "port must be 1 to 65535"],
    ["etcd://a b:2379/p", "not a host name"],
    ["etcd://user:secret@a:2379/p", "user and password stand in the environment"],
    ["etcd://a:2379,A:2379/p", "named twice"],
    ["etcd://a:2379/p//q", "single slashes"],
    ["etcd://a:2379/p q", "single slashes"],
    [`etcd://a:2379/${"p".repeat(200)}`, "longer than 128"],
    [`etcd://${Array.from({ length: 17 }, (_, i) => `h${i}:1`).join(",")}/p`, "the limit is 16"],
  ])("refuses %j", (text, reason) => {
    const { code, message } = refusal(() => parseEtcdAddress(text));
    expect(code).toBe("usage");
    expect(message).toContain(reason);
  });
});

describe("what a server shows to etcd", () => {
  const address = "etcd://a:2379/p";

  it("is nothing when nothing is said", () => {
    expect(readEtcdAccess({ address }, {})).toEqual({
      members: ["a:2379"],
      prefix: "/p",
      tls: null,
      credentials: null,
    });
    expect(readEtcdAccess({ address, ca: "" }, { PTALK_DIRECTORY_USER: "" })).toMatchObject({
      tls: null,
      credentials: null,
    });
  });

  it("is a user, from the environment or from the file that it names", () => {
    const credentials = { user: "ptalk", password: "se:cret" };
    const env = { PTALK_DIRECTORY_USER: "ptalk", PTALK_DIRECTORY_PASSWORD: "se:cret" };
    expect(readEtcdAccess({ address }, env)).toMatchObject({ credentials });
    const path = file("user", "ptalk\nse:cret\n");
    expect(readEtcdAccess({ address }, { PTALK_DIRECTORY_CREDENTIALS: path })).toMatchObject({ credentials });
  });

  it("is not half of a pair", () => {
    for (const env of [{ PTALK_DIRECTORY_USER: "u" }, { PTALK_DIRECTORY_PASSWORD: "p" }]) {
      expect(refusal(() => readEtcdAccess({ address }, env)).code).toBe("usage");
    }
    const both = { PTALK_DIRECTORY_USER: "u", PTALK_DIRECTORY_PASSWORD: "p", PTALK_DIRECTORY_CREDENTIALS: "/f" };
    expect(refusal(() => readEtcdAccess({ address }, both)).code).toBe("usage");
    expect(refusal(() => readEtcdAccess({ address, certificate: "/f" }, {})).message).toContain("--directory-key");
    expect(refusal(() => readEtcdAccess({ address, key: "/f" }, {})).message).toContain("--directory-key");
  });

  it("is no password that everybody can read, and no file of another form", () => {
    const read = (path: string) => refusal(() => readEtcdAccess({ address }, { PTALK_DIRECTORY_CREDENTIALS: path }));
    expect(read(file("open", "u\np\n", 0o644))).toMatchObject({
      code: "refused",
      message: expect.stringContaining("chmod o="),
    });
    expect(read(file("short", "u\n")).code).toBe("bad-data");
    expect(read(file("long", "u\np\nmore\n")).code).toBe("bad-data");
    expect(read(join(folder, "none"))).toMatchObject({
      code: "refused",
      message: expect.stringContaining("cannot read"),
    });
  });

  it("is an authority and a certificate with its key, all in PEM", async () => {
    const [one, other] = await Promise.all([generate(), generate()]);
    const ca = file("ca.pem", one.cert);
    const certificate = file("cert.pem", one.cert);
    const key = file("key.pem", one.private);
    const { tls } = readEtcdAccess({ address, ca, certificate, key }, {});
    expect(tls?.ca?.toString()).toBe(one.cert);
    expect(tls?.key?.toString()).toBe(one.private);
    const wrong = file("other.pem", other.private);
    expect(refusal(() => readEtcdAccess({ address, certificate, key: wrong }, {})).code).toBe("bad-data");
    expect(refusal(() => readEtcdAccess({ address, ca: file("no.pem", "no") }, {})).code).toBe("bad-data");
    expect(refusal(() => readEtcdAccess({ address, ca: join(folder, "none") }, {})).code).toBe("refused");
  });
});
