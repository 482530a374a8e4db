import { execFile } from "node:child_process";
import { createPublicKey, verify } from "node:crypto";
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect, promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fingerprint } from "../../lib/crypto/fingerprint.ts";
import { Identity, loadOrCreateIdentity } from "../../lib/crypto/identity.ts";

const hex = (text: string) => Buffer.from(text, "hex");

describe("Ed25519 identity", () => {
  // RFC 8032 section 7.1, TEST 1 to 3
  const vectors: [seed: string, publicKey: string, message: string, signature: string][] = [
    [
      "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
      "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
      "",
      "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
      "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
      "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
      "72",
      "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
      "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
      "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
      "af82",
      "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
  ];
  it.each(vectors)("agrees with RFC 8032 for seed %s", (seed, publicKey, message, signature) => {
    const identity = new Identity(hex(seed));
    expect(identity.publicKey.toString("hex")).toBe(publicKey);
    expect(identity.sign(hex(message)).toString("hex")).toBe(signature);
  });

  it("signs what other implementations verify", () => {
    const spki = hex("302a300506032b6570032100"); // RFC 8410
    for (let i = 0; i < 20; i++) {
      const identity = Identity.generate();
      const key = createPublicKey({ key: Buffer.concat([spki, identity.publicKey]), format: "der", type: "spki" });
      const text = Buffer.alloc(i * 100, i);
      expect(verify(null, text, key, identity.sign(text))).toBe(true);
      expect(verify(null, Buffer.from("other"), key, identity.sign(text))).toBe(false);
    }
  });

  it("prints a fingerprint as ssh does, and never the secret", () => {
    const identity = new Identity(Buffer.alloc(32, 7));
    expect(identity.fingerprint).toBe(fingerprint(identity.publicKey));
    expect(identity.fingerprint).toMatch(/^SHA256:[A-Za-z0-9+/]{43}$/);
    const secret = Buffer.alloc(32, 7);
    for (const shown of [inspect(identity, { depth: 9, showHidden: true }), JSON.stringify(identity)]) {
      expect(shown).not.toContain(secret.toString("hex"));
      expect(shown).not.toContain("07 07 07 07");
      expect(shown).not.toContain("7,7,7,7");
    }
  });
});

describe("the key file", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "ptalk-key-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const mode = (path: string) => statSync(path).mode & 0o777;

  it("is made on first use, 0600 in a 0700 folder, and read ever after", () => {
    const path = join(folder, "a", "b", "key");
    const first = loadOrCreateIdentity(path);
    expect(mode(path)).toBe(0o600);
    expect(mode(join(folder, "a", "b"))).toBe(0o700);
    const bytes = readFileSync(path);
    expect(loadOrCreateIdentity(path).publicKey).toEqual(first.publicKey);
    expect(readFileSync(path)).toEqual(bytes);
    expect(readdirSync(join(folder, "a", "b"))).toEqual(["key"]);
  });

  it.each([
    ["\ufeff", "", /byte order mark/],
    ["", "\r\n", /carriage return/],
  ])("is not called a file without a key when an editor has saved it anew (%j key %j)", (before, after, reason) => {
    const path = join(folder, "key");
    loadOrCreateIdentity(path);
    const changed = `${before}${readFileSync(path, "latin1").trim()}${after}`;
    writeFileSync(path, changed);
    const load = () => loadOrCreateIdentity(path);
    expect(load).toThrow(reason);
    expect(load).toThrow(`${path}, line 1: `);
    expect(load).not.toThrow(/move it away/);
    expect(readFileSync(path, "utf8")).toBe(changed);
  });

  it("is 0600 whatever the umask", () => {
    const before = process.umask(0o777);
    try {
      loadOrCreateIdentity(join(folder, "key"));
    } finally {
      process.umask(before);
    }
    expect(mode(join(folder, "key"))).toBe(0o600);
  });

  it("is one and the same for processes that start at the same instant", async () => {
    const path = join(folder, "key");
    const run = promisify(execFile);
    const one = () => run(process.execPath, [join(import.meta.dirname, "../fixtures/crypto/identity.js"), path]);
    const keys = await Promise.all(Array.from({ length: 6 }, async () => (await one()).stdout.trim()));
    expect(new Set(keys).size).toBe(1);
    expect(keys[0]).toBe(loadOrCreateIdentity(path).fingerprint);
    expect(readdirSync(folder)).toEqual(["key"]);
  });

  it.each([0o644, 0o640, 0o604, 0o660])("is refused with mode %o, saying what to do", (bad) => {
    const path = join(folder, "key");
    loadOrCreateIdentity(path);
    chmodSync(path, bad);
    expect(() => loadOrCreateIdentity(path)).toThrow(expect.objectContaining({ code: "refused" }));
    expect(() => loadOrCreateIdentity(path)).toThrow(/chmod 600/);
  });

  it.each(["", "x", "ptalk-key-1 AAAA\n", `ptalk-key-1 ${"A".repeat(44)}\n`, "a".repeat(100_000)])(
    "with other contents is an error and stays as it is (%#)",
    (contents) => {
      const path = join(folder, "key");
      writeFileSync(path, contents, { mode: 0o600 });
      expect(() => loadOrCreateIdentity(path)).toThrow(expect.objectContaining({ code: "bad-data" }));
      expect(readFileSync(path, "utf8")).toBe(contents);
    },
  );

  it("may not be a folder, and a dangling link is never written through", () => {
    expect(() => loadOrCreateIdentity(folder)).toThrow();
    symlinkSync(join(folder, "nowhere"), join(folder, "link"));
    expect(() => loadOrCreateIdentity(join(folder, "link"))).toThrow(expect.objectContaining({ code: "EEXIST" }));
    expect(readdirSync(folder)).toEqual(["link"]);
  });
});
