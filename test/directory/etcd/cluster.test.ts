// Calls to real members: those that share a connection or a token, users, TLS.
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generate } from "selfsigned";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { EtcdAccess } from "../../../lib/directory/etcd/address.ts";
import { CallError, STATUS_CODE } from "../../../lib/directory/etcd/channel.ts";
import { judge } from "../../../lib/directory/etcd/cluster.ts";
import type { Transaction } from "../../../lib/directory/etcd/engine.ts";
import { EtcdEngine } from "../../../lib/directory/etcd/etcd-engine.ts";
import { EtcdCluster, etcdMissing } from "../../helpers/etcd.ts";

const READ: Transaction = { when: [], then: [{ get: "/ptalk/a" }], otherwise: [] };
/** Beyond the second that the nodes below give a token, and the second by which etcd looks. */
const TOKENS_ARE_OLD_MS = 4_000;

describe("calls that wait for one connection", () => {
  it("end within their own time: a short one is not held by the long one that came before", async () => {
    const sockets = new Set<Socket>();
    const silent = createServer((socket) => sockets.add(socket.on("error", () => {})));
    await once(silent.listen(0, "127.0.0.1"), "listening");
    const address = silent.address();
    const port = typeof address === "object" ? address?.port : undefined;
    // Three names for one member that accepts and says nothing, as a stopped one does.
    const members = ["127.0.0.1", "localhost", "127.0.0.2"].map((host) => `${host}:${port}`);
    const engine = new EtcdEngine({ members, prefix: "/ptalk", tls: null, credentials: null });
    const order: string[] = [];
    const call = (name: string, deadline: number) =>
      engine.transact(READ, deadline).catch((error: { code?: string }) => order.push(`${name} ${error.code}`));
    await Promise.all([call("long", 2_500), call("short", 300)]);
    engine.close();
    for (const socket of sockets) socket.destroy();
    silent.close();
    expect(order).toEqual(["short refused", "long refused"]);
  });
});

describe("what a refusal means", () => {
  const { unavailable, resourceExhausted, invalidArgument, notFound, deadlineExceeded, cancelled } = STATUS_CODE;
  it.each([
    ["elsewhere", unavailable, "etcdserver: no leader"],
    ["unknown", unavailable, "etcdserver: leader changed"],
    ["unknown", unavailable, "etcdserver: request timed out"],
    ["unknown", unavailable, "etcdserver: server stopped"],
    ["unknown", unavailable, "Connection dropped"],
    ["elsewhere", resourceExhausted, "etcdserver: too many requests"],
    ["final", resourceExhausted, "etcdserver: mvcc: database space exceeded"],
    ["unknown", resourceExhausted, "Received message larger than max (70000000 vs 67108864)"],
    ["final", notFound, "etcdserver: requested lease not found"],
    ["final", invalidArgument, "etcdserver: duplicate key given in txn request"],
    ["unknown", invalidArgument, "of a proxy"],
    ["unknown", deadlineExceeded, "Deadline exceeded"],
    ["unknown", cancelled, "Call cancelled"],
  ] as const)("%s: %i %s", (verdict, code, message) => {
    const method = { path: "/etcdserverpb.KV/Txn" };
    expect(judge(new CallError("h:1", code, message), method)).toBe(verdict);
    // A request that has not left this process can have had no effect.
    expect(judge(new CallError("h:1", code, message, { isUnsent: true }), method)).toBe("elsewhere");
  });
});

describe.skipIf(etcdMissing !== null)(`an etcd with users (${etcdMissing ?? "runs"})`, () => {
  async function withUsers(): Promise<{ cluster: EtcdCluster; access: (password: string) => EtcdAccess }> {
    const cluster = await EtcdCluster.start({ flags: ["--auth-token-ttl", "1"] });
    for (const line of ["user add root:secret", "role add root", "user grant-role root root"])
      await cluster.ctl(line.split(" ")).catch((error: Error) => {
        if (!error.message.includes("role name already exists")) throw error;
      });
    await cluster.ctl(["auth", "enable"]);
    return {
      cluster,
      access: (password) => ({ ...cluster.access(), credentials: { user: "root", password } }),
    };
  }

  it("is asked for a new token when the old one has expired, by calls side by side", async () => {
    const { cluster, access } = await withUsers();
    await using _ = cluster;
    const engine = new EtcdEngine(access("secret"));
    const { revision } = await engine.transact(READ, 10_000);
    const heard: string[] = [];
    const ends: string[] = [];
    const watch = (name: string) =>
      engine.watch("/ptalk/", revision + 1, {
        events: (events) => heard.push(...events.map((event) => `${name} ${"put" in event ? event.put.key : ""}`)),
        progress() {},
        ended: (why, { message }) => ends.push(`${why}: ${message}`),
      });
    using _old = watch("old");
    await new Promise((resolve) => setTimeout(resolve, TOKENS_ARE_OLD_MS));
    // etcd refuses the old token of a new watch within its stream; the old one lives on.
    using _new = watch("new");
    await cluster.ctl(["put", "/ptalk/x", "1"], 0, ["--user", "root:secret"]);
    await expect.poll(() => heard.toSorted(), { timeout: 30_000 }).toEqual(["new /ptalk/x", "old /ptalk/x"]);
    expect(ends).toEqual([]);
    await new Promise((resolve) => setTimeout(resolve, TOKENS_ARE_OLD_MS));
    const results = await Promise.all(Array.from({ length: 8 }, () => engine.transact(READ, 10_000)));
    expect(results.map(({ succeeded }) => succeeded)).toEqual(Array.from({ length: 8 }, () => true));
    engine.close();
  });

  it("refuses a wrong password, which is reported once", async () => {
    const { cluster, access } = await withUsers();
    await using _ = cluster;
    const reports: string[] = [];
    const engine = new EtcdEngine(access("wrong"), (report) => reports.push(report));
    const refused = { code: "refused", message: `etcd at ${cluster.members[0]}: wrong user or password` };
    for (let i = 0; i < 3; i++) await expect(engine.transact(READ, 10_000)).rejects.toMatchObject(refused);
    expect(reports).toEqual([refused.message]);
    engine.close();
  });
});

/** A certificate for an address, in files. It is its own authority, as one of a small site may be. */
async function certificateFor(address: string, folder: string) {
  const { cert, private: secret } = await generate([{ name: "commonName", value: "etcd" }], {
    keyType: "ec",
    extensions: [
      { name: "basicConstraints", cA: true },
      { name: "keyUsage", digitalSignature: true, keyCertSign: true },
      { name: "extKeyUsage", serverAuth: true, clientAuth: true },
      { name: "subjectAltName", altNames: [{ type: 7, ip: address }] },
    ],
  });
  const [certificate, key] = [join(folder, `${address}.pem`), join(folder, `${address}.key`)];
  writeFileSync(certificate, cert);
  writeFileSync(key, secret, { mode: 0o600 });
  return { ca: certificate, certificate, key };
}

describe.skipIf(etcdMissing !== null)(`an etcd with TLS (${etcdMissing ?? "runs"})`, () => {
  const folder = mkdtempSync(join(tmpdir(), "ptalk-etcd-tls-"));
  let cluster: EtcdCluster;
  let files: Awaited<ReturnType<typeof certificateFor>>;
  const warnings: string[] = [];
  const onWarning = ({ message }: Error) => warnings.push(message);
  beforeAll(async () => {
    process.on("warning", onWarning);
    files = await certificateFor("127.0.0.1", folder);
    cluster = await EtcdCluster.start({ tls: files });
  });
  afterAll(async () => {
    process.off("warning", onWarning);
    await cluster[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  const transact = async (tls: EtcdAccess["tls"], members = cluster.members) => {
    const engine = new EtcdEngine({ ...cluster.access(), members, tls });
    try {
      return await engine.transact(READ, 5_000);
    } finally {
      engine.close();
    }
  };
  const read = ({ ca, certificate, key }: typeof files) => ({
    ...{ ca: readFileSync(ca), certificate: readFileSync(certificate), key: readFileSync(key) },
  });

  it("answers a client with a certificate of its authority, and nothing warns of the address", async () => {
    expect(await transact(read(files))).toMatchObject({ succeeded: true });
    await new Promise((resolve) => setImmediate(resolve)); // warnings come in a later turn
    expect(warnings).toEqual([]);
  });

  it("is not believed at another address than its certificate's", async () => {
    const members = cluster.members.map((member) => member.replace("127.0.0.1", "localhost"));
    await expect(transact(read(files), members)).rejects.toMatchObject({
      code: "refused",
      message: expect.stringMatching(/altnames|does not match/),
    });
  });

  it("refuses a client without a certificate, or with one of another authority", async () => {
    const others = await certificateFor("127.0.0.9", folder);
    const { ca } = read(files);
    for (const tls of [
      { ca, certificate: null, key: null },
      { ...read(others), ca },
    ])
      await expect(transact(tls)).rejects.toMatchObject({
        code: "refused",
        message: `no etcd member can be reached (${cluster.members[0]}: it asks for a client certificate of an authority that it knows)`,
      });
  });

  it("is not believed when another authority has signed for it", async () => {
    const others = await certificateFor("127.0.0.8", folder);
    await expect(transact({ ...read(files), ca: readFileSync(others.ca) })).rejects.toMatchObject({ code: "refused" });
  });
});
