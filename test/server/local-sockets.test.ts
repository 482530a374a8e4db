// The server's Unix sockets: the owner of the path, and the uid of a client as the kernel says.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chownSync, closeSync, existsSync, lstatSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { abstractPath } from "../../lib/base/socket-path.ts";
import { uidBinding } from "../../lib/crypto/signed-statements.ts";
import { listenAtPath } from "../../lib/net/unix-socket.ts";
import { countedUid } from "../../lib/server/origin.ts";
import { COMMAND } from "../helpers/command.js";
import { Client, newKeys, registerCommand, ServerProcess, within } from "../helpers/lookup-server.ts";
import { canChangeUser } from "../helpers/privileges.ts";

let folder: string;
let path: string;
const servers: ServerProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync("/tmp/ptalk-socket-");
  path = join(folder, "s");
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop();
  rmSync(folder, { recursive: true });
});

async function serve(socket = path): Promise<ServerProcess> {
  const server = await ServerProcess.start([
    "--socket",
    socket,
    "--workers",
    "1",
    "--state-dir",
    join(folder, "state"),
  ]);
  servers.push(server);
  return server;
}

async function refused(socket: string): Promise<[status: number | null, log: string]> {
  const server = await serve(socket);
  const [status] = await within("the server to end", server.exited);
  return [status, server.log];
}

/** A socket file at which no process listens: its server was killed. */
async function deadSocket(at: string): Promise<void> {
  const child = spawn(process.execPath, [
    "-e",
    `require("net").createServer().listen(${JSON.stringify(at)}, () => console.log())`,
  ]);
  await once(child.stdout, "data");
  child.kill("SIGKILL");
  await once(child, "close");
}

const listening = (at: string): Promise<Server> =>
  new Promise((resolve) => {
    const server = createServer().listen(at, () => resolve(server));
  });

describe("a socket's path", () => {
  it("serves, for everybody, and is gone with the server", async () => {
    const server = await serve();
    expect(lstatSync(path).mode & 0o777).toBe(0o666);
    const client = await Client.connectTo(path);
    const hello = (await client.ask("HELLO", 3)) as Map<string, unknown>;
    expect(hello.get("address")).toBeNull();
    expect(hello.get("uid")).toBe(process.geteuid?.());
    expect(hello.has("unix")).toBe(false);
    client.close();
    expect(await server.stop()).toBe(0);
    expect(existsSync(path)).toBe(false);
  });

  it("of 107 bytes serves; one byte more is a mistake", async () => {
    const longest = join(folder, "s".repeat(107 - folder.length - 1));
    await serve(longest);
    const client = await Client.connectTo(longest);
    expect(await client.ask("PING")).toBe("PONG");
    client.close();
    expect(await refused(`${longest}s`)).toEqual([64, expect.stringContaining("107 bytes")]);
  });

  it("at which another server listens stays untouched", async () => {
    const other = await listening(path);
    const before = lstatSync(path).ino;
    expect(await refused(path)).toEqual([69, expect.stringContaining("another server is listening")]);
    expect(lstatSync(path).ino).toBe(before);
    const socket = connect(path);
    await once(socket, "connect");
    socket.destroy();
    other.close();
  });

  it("of a server of one's own that is dead is replaced", async () => {
    await deadSocket(path);
    await serve();
    const client = await Client.connectTo(path);
    expect(await client.ask("PING")).toBe("PONG");
    client.close();
  });

  it("with a file at it is refused, and the file stays", async () => {
    writeFileSync(path, "mine");
    expect(await refused(path)).toEqual([77, expect.stringContaining("no socket")]);
    expect(existsSync(path)).toBe(true);
  });

  it("that another server has by now is not removed at the end", async () => {
    const server = await serve();
    rmSync(path);
    const other = await listening(path);
    await server.stop();
    expect(existsSync(path)).toBe(true);
    other.close();
  });

  it("may be none", async () => {
    const server = await serve("none");
    expect(server.port).toBeGreaterThan(0);
    expect(existsSync(path)).toBe(false);
  });
});

it("a socket that a service manager handed over serves, and its path is left alone", async () => {
  const { fd } = await listenAtPath(path);
  const args = ["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--state-dir", join(folder, "state")];
  const script = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"';
  const child = spawn("sh", ["-c", script, "sh", ...COMMAND, ...args], {
    stdio: ["ignore", "pipe", "inherit", fd],
  });
  closeSync(fd);
  const ended = once(child, "close");
  await once(child.stdout as NodeJS.ReadableStream, "data");
  const client = await Client.connectTo(path);
  expect(await client.ask("PING")).toBe("PONG");
  client.close();
  child.kill("SIGTERM");
  expect((await within("the server to end", ended))[0]).toBe(0);
  expect(existsSync(path)).toBe(true);
});

describe("the abstract socket", () => {
  it("has a name that only HELLO over loopback tells, of 128 random bits", async () => {
    const names = new Set<unknown>();
    for (let i = 0; i < 2; i++) {
      const server = await ServerProcess.start(["--workers", "1", "--state-dir", join(folder, `state-${i}`)]);
      servers.push(server);
      const client = await server.client(2);
      const hello = (await client.ask("HELLO", 3)) as Map<string, unknown>;
      names.add(hello.get("unix"));
      expect(hello.get("unix")).toMatch(/^@ptalk-[0-9a-f]{32}$/);
      expect(hello.get("port")).toBe(server.port);
      const local = await Client.connectTo(abstractPath(String(hello.get("unix"))));
      expect(((await local.ask("HELLO", 3)) as Map<string, unknown>).get("address")).toBeNull();
      local.close();
      client.close();
    }
    expect(names.size).toBe(2);
  });

  // Node 20 and 22 bind a name without its filling at two addresses.
  it("is at the same address whichever Node serves: the name, filled up with NULs to 108 bytes", async () => {
    const server = await ServerProcess.start(["--workers", "1", "--state-dir", join(folder, "state")]);
    servers.push(server);
    const client = await server.client(2);
    const hello = (await client.ask("HELLO", 3)) as Map<string, unknown>;
    client.close();
    const script = `
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(("\\0" + sys.argv[1][1:]).ljust(108, "\\0"))
s.sendall(b"PING\\r\\n")
print(s.recv(100).decode().strip())`;
    const python = spawnSync("python3", ["-c", script, String(hello.get("unix"))], {
      encoding: "utf8",
      timeout: 30_000,
    });
    expect([python.stdout, python.stderr]).toEqual(["+PONG\n", ""]);
  });
});

describe("a registration over a Unix socket", () => {
  it("is good with the uid that connected, and with none; another uid's signature is void", async () => {
    await serve();
    const uid = process.geteuid?.() ?? 0;
    const keys = newKeys();
    const replies: unknown[] = [];
    for (const binding of [uidBinding(uid), "local", uidBinding(uid + 1)]) {
      const client = await Client.connectTo(path);
      const statement = await client.hello();
      replies.push(await client.ask(...registerCommand({ ...statement, binding }, "bob", keys)));
      client.close();
      await within("the row to go", gone("bob"));
    }
    expect(replies).toEqual(["OK", "OK", expect.objectContaining({ code: "BADSIG" })]);
  });

  async function gone(name: string): Promise<void> {
    const client = await Client.connectTo(path);
    while ((await client.ask("LOOKUP", name)) !== null) await new Promise((resolve) => setTimeout(resolve, 10));
    client.close();
  }
});

describe("a uid", () => {
  it.each([
    ["an ordinary one", 1000, "path", 1000],
    ["an ordinary one", 1000, "abstract", 1000],
    ["one above INT_MAX", 3_000_000_000, "path", 3_000_000_000],
    ["root", 0, "path", 0],
    ["root, perhaps of a container", 0, "abstract", null],
    ["the kernel's stand-in for others", 65_534, "path", null],
    ["(uid_t)-1", 4_294_967_295, "path", null],
  ] as const)("%s (%i on a %s socket) counts as %s", (_what, uid, kind, counted) => {
    expect(countedUid(uid, kind, 65_534)).toBe(counted);
  });
});

describe.skipIf(!canChangeUser)("another user (root only)", () => {
  it("whose dead socket is there keeps it", async () => {
    const script = `require("net").createServer().listen(${JSON.stringify(path)}, () => console.log())`;
    chownSync(folder, 12_345, 12_345);
    const child = spawn(process.execPath, ["-e", script], { uid: 12_345, gid: 12_345 });
    await once(child.stdout, "data");
    child.kill("SIGKILL");
    await once(child, "close");
    expect(await refused(path)).toEqual([77, expect.stringContaining("uid 12345")]);
    expect(existsSync(path)).toBe(true);
  });
});
