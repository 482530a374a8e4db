// What the system refuses, at each call that a command makes for it: one sentence on stderr, a status that fits, no stack, no core.

import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { User } from "../helpers/cli.ts";
import { COMMAND } from "../helpers/command.js";
import { type Fault, whyNoFaults, withFault } from "../helpers/faults.ts";
import { whyNoHosts } from "../helpers/host.ts";
import { Program } from "../helpers/program.ts";
import { Serving } from "../helpers/serving.ts";

const [OK, SHORT, FORBIDDEN, LATE] = [0, 69, 77, 75];

let server: Serving;
let bob: Program;
/** Has a key and knows bob's. */
let alice: User;
const others: User[] = [];
let names = 0;
beforeAll(async () => {
  if (whyNoFaults !== null) return;
  server = await Serving.start();
  alice = newUser();
  const receiver = newUser();
  bob = receiver.start(["recv", "--as", "bob", "--json"]);
  await bob.line();
  expect(await alice.run(["send", "--as", "alice", "bob", "hi"])).toMatchObject({ code: 0 });
});
afterAll(async () => {
  await bob?.kill();
  await server?.[Symbol.asyncDispose]();
  for (const user of others) user[Symbol.dispose]();
});

function newUser(): User {
  const user = new User({ PTALK_SERVER: server.address });
  others.push(user);
  return user;
}

const stateOf = (user: User, file: string): string => join(user.home, "state", "ptalk", file);
const uid = process.geteuid?.() ?? 0;
const LOCAL_TABLE = [`/dev/shm/ptalk-host-${uid}`, `/dev/shm/ptalk-host-${uid}.lock`];

interface Row extends Fault {
  readonly args: readonly string[];
  /** Whose home: one with a key in it, or an empty one. */
  readonly first?: boolean;
  readonly file?: "key" | "known_peers" | "state";
  readonly status: readonly number[];
}

const SEND = ["send", "--as", "alice", "--timeout", "2", "bob", "hi"];
const FIRST_SEND = ["send", "--timeout", "2", "bob", "hi"];
/** Each under a name of its own: they run at the same time. */
const RECV = ["recv", "--timeout", "1"];
const KEY = ["key"];
const rows = (args: readonly string[], syscall: string, status: readonly number[], errors: string, more = {}): Row[] =>
  errors.split(" ").map((error) => ({ args, syscall, error, status, ...more }));

const TABLE: Row[] = [
  // The key: read, and made.
  ...[SEND, RECV, KEY].flatMap((args) => [
    ...rows(args, "openat", [SHORT], "EMFILE ENFILE ENOMEM EIO ESTALE", { file: "key" }),
    ...rows(args, "openat", [FORBIDDEN], "EACCES ELOOP", { file: "key" }),
    ...rows(args, "read,pread64", [SHORT], "EIO ESTALE", { file: "key" }),
  ]),
  ...[FIRST_SEND, KEY].flatMap((args) => [
    ...rows(args, "mkdir", [SHORT], "ENOSPC EDQUOT EIO", { first: true, file: "state" }),
    ...rows(args, "mkdir", [FORBIDDEN], "EACCES EROFS", { first: true, file: "state" }),
    ...rows(args, "link,linkat", [FORBIDDEN], "EPERM EMLINK EOPNOTSUPP", { first: true, file: "key" }),
    ...rows(args, "link,linkat", [SHORT], "ENOSPC EDQUOT", { first: true, file: "key" }),
    ...rows(args, "fsync", [SHORT], "EIO ENOSPC", { first: true }),
  ]),
  // The keys of others: a sender does not guess, a receiver says that it cannot tell.
  ...rows(SEND, "openat", [SHORT], "EMFILE EIO", { file: "known_peers" }),
  ...rows(SEND, "openat", [FORBIDDEN], "EACCES", { file: "known_peers" }),
  ...rows(KEY, "openat,read", [SHORT], "EMFILE EIO ESTALE", { file: "known_peers" }),
  // The way to the server.
  ...[SEND, ["all"], ["lookup", "bob"]].flatMap((args) =>
    rows(
      args,
      "connect",
      [SHORT, LATE],
      "ECONNREFUSED ENETUNREACH EHOSTUNREACH ETIMEDOUT ENETDOWN EADDRNOTAVAIL EPERM EACCES",
    ),
  ),
  ...[SEND, ["all"]].flatMap((args) => rows(args, "socket", [SHORT], "EMFILE ENFILE ENOBUFS ENOMEM")),
  ...rows(SEND, "socket", [SHORT, FORBIDDEN], "EACCES EPERM EAFNOSUPPORT"),
  // The chat socket.
  ...rows(SEND, "bind", [SHORT], "EADDRINUSE EADDRNOTAVAIL ENOMEM"),
  ...rows(SEND, "bind", [FORBIDDEN], "EACCES"),
  ...rows(RECV, "bind", [SHORT], "EADDRINUSE EADDRNOTAVAIL"),
  ...rows(SEND, "sendto,sendmsg,sendmmsg", [LATE], "ENETUNREACH EPERM ENOBUFS"),
  ...rows(SEND, "recvmmsg", [SHORT, LATE], "EIO ENOMEM ENOTCONN"),
  // The local table: who is not in it still talks.
  ...rows(RECV, "fallocate", [LATE], "ENOSPC EFBIG", { paths: LOCAL_TABLE }),
  ...rows(RECV, "mmap", [LATE], "ENOMEM", { paths: LOCAL_TABLE }),
  ...rows(RECV, "openat", [LATE], "EACCES EMFILE ENFILE ENOSPC", { paths: LOCAL_TABLE }),
  ...rows(["list"], "openat", [OK], "EACCES EMFILE", { paths: LOCAL_TABLE }),
  ...rows(["list"], "openat,getdents64", [SHORT], "EMFILE EIO", { paths: ["/dev/shm"] }),
  ...rows(["list"], "openat", [FORBIDDEN], "EACCES", { paths: ["/dev/shm"] }),
  ...rows(RECV, "mkdir", [FORBIDDEN], "EROFS", { first: true, file: "state" }),
];

describe.skipIf(whyNoFaults)(`a command${whyNoFaults ? ` (skipped: ${whyNoFaults})` : ""}`, () => {
  it.concurrent.each(TABLE.map((row) => [row.args.join(" "), row.syscall, row.error, row.file ?? "any", row] as const))(
    "ptalk %s: %s fails with %s (%s)",
    async (_command, _syscall, _error, _file, { args, first, file, status, ...fault }) => {
      const user = first ? newUser() : alice;
      const paths =
        file === undefined ? fault.paths : file === "state" ? [join(user.home, "state")] : [stateOf(user, file)];
      const own = args === RECV || args === FIRST_SEND ? ["--as", `u${++names}`] : [];
      const command = [...COMMAND, ...args.slice(0, 1), ...own, ...args.slice(1)];
      const { code, signal, stderr } = await withFault({ ...fault, ...(paths ? { paths } : {}) }, command, {
        env: user.env,
      });
      expect({ signal, code, stderr }).toSatisfy(() => signal === null && status.includes(code ?? -1));
      const said = stderr.split("\n").filter((line) => line !== "" && !/^ptalk: you are /.test(line));
      expect(stderr).not.toMatch(/^ {4}at /m);
      expect(said.every((line) => line.startsWith("ptalk: "))).toBe(true);
      if (code !== OK) expect(said.length).toBeGreaterThan(0);
      if (code !== OK && args[0] !== "recv") expect(said).toHaveLength(1);
    },
  );
});

it.skipIf(whyNoFaults)("ptalk recv ends when its socket cannot be read any more, and says why", async () => {
  const deaf = newUser();
  const command = [...COMMAND, "recv", "--as", "deaf", "--timeout", "60"];
  const ended = withFault({ syscall: "recvmmsg", error: "EIO" }, command, { env: deaf.env });
  await expect.poll(async () => (await alice.run(["lookup", "deaf"])).code, { timeout: 30_000 }).toBe(0);
  expect((await alice.run(["send", "--as", "alice", "--timeout", "2", "deaf", "hi"])).code).not.toBe(0);
  const { code, signal, stderr } = await ended;
  expect({ code, signal }).toEqual({ code: 69, signal: null });
  expect(stderr).toMatch(/^ptalk: EIO: i\/o error, recvmmsg$/m);
});

describe.skipIf(whyNoFaults)("ptalk serve", () => {
  const LISTEN = ["--listen", "127.0.0.1:0", "--workers", "1"];
  const SERVE: [syscall: string, error: string, status: number, file?: string][] = [
    ["bind", "EADDRINUSE", SHORT],
    ["bind", "EADDRNOTAVAIL", SHORT],
    ["listen", "EADDRINUSE", SHORT],
    ["socket", "EMFILE", SHORT],
    ["fallocate", "ENOSPC", SHORT],
    ["fallocate", "EDQUOT", SHORT],
    ["fsync", "EIO", SHORT],
    ["rename,renameat2", "ENOSPC", SHORT],
    ["rename,renameat2", "EDQUOT", SHORT],
    ["mkdir", "EROFS", FORBIDDEN, "state"],
    ["mkdir", "ENOSPC", SHORT, "state"],
    ["mkdir", "EDQUOT", SHORT, "state"],
  ];
  it.concurrent.each(SERVE)(
    "does not start when %s fails with %s, and says why: %s",
    async (syscall, error, status, file) => {
      const user = new User();
      others.push(user);
      const stateDir = join(user.home, "state", "names");
      const paths = file === undefined ? {} : { paths: [join(user.home, "state"), stateDir] };
      const command = [...COMMAND, "serve", ...LISTEN, "--state-dir", stateDir];
      const { code, signal, stderr } = await withFault({ syscall, error, ...paths }, command, {
        env: user.env,
        stopOnOutput: /serving on/,
      });
      expect({ code, signal, stderr }).toMatchObject({ code: status, signal: null });
      expect(stderr).not.toMatch(/^ {4}at /m);
      expect(stderr.trim().split("\n").at(-1)).toMatch(/^ptalk: /);
    },
  );
});

describe.skipIf(whyNoHosts)(`a host whose /dev/shm is small${whyNoHosts ? ` (skipped: ${whyNoHosts})` : ""}`, () => {
  it.each(["64k", "512k"])("%s: whoever would start a server hears the reason", async (size) => {
    using user = new User();
    const setUp = `ip link set lo up && mount -t tmpfs -o size=${size} tmpfs /dev/shm && exec "$@"`;
    const unshare = ["-n", "-m", "-p", "--fork", "--kill-child", "--mount-proc", "sh", "-c", setUp, "sh"];
    const { env } = user;
    const program = new Program("unshare", [...unshare, ...COMMAND, "--as", "alice"], { env });
    const { code, stderr } = await program.end();
    expect({ code, stderr }).toEqual({ code: 69, stderr: expect.stringContaining("shared memory has no room for") });
    expect(stderr.trim().split("\n")).toHaveLength(1);
  });
});
