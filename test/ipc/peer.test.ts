// The other end of a Unix socket: its credentials, and open files that go over it.
import {
  chmodSync,
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  peerCredentials,
  peerPidfd,
  processIdentity,
  receiveDescriptors,
  sendDescriptors,
} from "../../lib/ipc/index.ts";
import { NodeProgram } from "../helpers/node-program.ts";
import { descriptors } from "../helpers/own-process.ts";
import { canChangeUser } from "../helpers/privileges.ts";

const folder = mkdtempSync(join(tmpdir(), "ptalk-peer-"));
chmodSync(folder, 0o755); // another user connects, too
afterAll(() => rmSync(folder, { recursive: true }));

/** SO_PEERPIDFD came with Linux 6.5. */
const hasPidfds = Number(/^\d+\.\d+/.exec(release())?.[0].replace(/\.(\d)$/, ".0$1")) >= 6.05;

let server: Server;
let path: string;
let count = 0;
const connections: Socket[] = [];
beforeEach(async () => {
  path = join(folder, `${count++}.sock`);
  server = createServer({ pauseOnConnect: true }, (socket) => connections.push(socket));
  await new Promise<void>((resolve) => server.listen({ path, writableAll: true }, resolve));
});
afterEach(async () => {
  for (const socket of connections.splice(0)) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
});

function accepted(): Promise<Socket> {
  return new Promise((resolve) => server.once("connection", resolve));
}

/** Another process, connected as `socket`, that runs the script then. */
async function client(script: string, before = ""): Promise<[NodeProgram, Socket]> {
  const connection = accepted();
  const program = new NodeProgram(`
    import { closeSync, openSync, readSync } from "node:fs";
    import { connect } from "node:net";
    ${before}
    const socket = connect(${JSON.stringify(path)});
    socket.pause();
    await new Promise((resolve) => socket.once("connect", resolve));
    ${script}`);
  const ended = program.ended.then(({ stderr }) => Promise.reject(new Error(stderr)));
  ended.catch(() => {});
  return [program, await Promise.race([connection, ended])];
}

describe("peerCredentials", () => {
  test("are those of the process that connected, and, over there, of the one that listens", async () => {
    const [program, socket] = await client("say(ipc.peerCredentials(socket));");
    const own = { uid: process.getuid?.(), gid: process.getgid?.() };
    expect(peerCredentials(socket)).toEqual({ pid: program.pid, ...own });
    expect(await program.heard()).toEqual({ pid: process.pid, ...own });
    await program.end();
  });

  test.skipIf(!canChangeUser)("are the effective user and group when it connected, whatever it is later", async () => {
    const [program, socket] = await client(
      "process.seteuid(0); say(true);",
      "process.setegid(65533); process.seteuid(65534);",
    );
    await program.heard();
    expect(peerCredentials(socket)).toEqual({ pid: program.pid, uid: 65534, gid: 65533 });
    await program.end();
  });

  test("stay readable when the process is gone", async () => {
    const [program, socket] = await client("say(true);");
    await program.heard();
    await program.kill();
    expect(peerCredentials(socket)).toMatchObject({ pid: program.pid });
  });

  test("of a TCP connection are ENOTSUP, of a socket that is not connected ENOTCONN, of one that is closed EBADF", async () => {
    const tcp = createServer();
    await new Promise<void>((resolve) => tcp.listen(0, "127.0.0.1", resolve));
    const { port } = tcp.address() as { port: number };
    const there = new Promise<Socket>((resolve) => tcp.once("connection", resolve));
    const here = connect(port, "127.0.0.1");
    const refusal = (code: string) => expect.objectContaining({ name: "IpcError", code });
    await new Promise((resolve) => here.once("connect", resolve));
    expect(() => peerCredentials(here)).toThrow(refusal("ENOTSUP"));
    const other = await there;
    expect(() => peerCredentials(other)).toThrow(refusal("ENOTSUP"));
    expect(() => peerPidfd(other)).toThrow(refusal("ENOTSUP"));
    for (const socket of [here, other]) socket.destroy();
    expect(() => peerCredentials(other)).toThrow(refusal("EBADF"));
    await new Promise((resolve) => tcp.close(resolve));
    const listening = (server as unknown as { _handle: { fd: number } })._handle.fd;
    expect(() => peerCredentials(listening)).not.toThrow(); // its own, as listen(2) noted them
    const file = openSync("/dev/null", "r");
    expect(() => peerCredentials(file)).toThrow(refusal("ENOTSOCK"));
    closeSync(file);
    expect(() => peerCredentials(-1)).toThrow(RangeError);
  });

  test("are had without a descriptor left, and the pidfd is EMFILE then, where the kernel has it", async () => {
    const [program] = await client(
      `spawnSync("prlimit", ["--pid", String(process.pid), "--nofile=64:64"]);
       const open = [];
       try { for (;;) open.push(openSync("/dev/null", "r")); } catch {}
       const { uid } = ipc.peerCredentials(socket);
       let pidfd;
       try { pidfd = ipc.peerPidfd(socket); } catch (error) { pidfd = error.code; }
       for (const fd of open) closeSync(fd);
       say([uid, pidfd]);`,
      'import { spawnSync } from "node:child_process";',
    );
    const [uid, pidfd] = (await program.heard()) as [number, string | null];
    expect(uid).toBe(process.getuid?.());
    expect([null, "EMFILE"]).toContain(pidfd);
    if (hasPidfds) expect(pidfd).toBe("EMFILE");
    await program.end();
  });

  test("come with a pidfd that means that very process, where the kernel has it", async () => {
    const [program, socket] = await client("say(true);");
    await program.heard();
    const pidfd = peerPidfd(socket);
    expect(pidfd !== null).toBe(hasPidfds);
    if (pidfd !== null) {
      expect(readFileSync(`/proc/self/fdinfo/${pidfd}`, "utf8")).toMatch(new RegExp(`^Pid:\\s+${program.pid}$`, "m"));
      closeSync(pidfd);
    }
    expect(processIdentity(program.pid)).not.toBeNull();
    await program.end();
  });
});

describe("descriptors", () => {
  const file = (text: string): number => {
    const name = join(folder, `file-${count++}`);
    writeFileSync(name, text);
    return openSync(name, "r+");
  };
  const textOf = (fd: number): string => {
    const bytes = Buffer.alloc(100);
    return bytes.toString("utf8", 0, readSync(fd, bytes, 0, bytes.length, 0));
  };

  test("arrive as the same open files, with their bytes, in order, close-on-exec", async () => {
    const [program, socket] = await client(`
      const { data, descriptors } = await ipc.receiveDescriptors(socket);
      const bytes = Buffer.alloc(100);
      say([String(data), descriptors.map((fd) => bytes.toString("utf8", 0, readSync(fd, bytes, 0, 100, 0)))]);
      writeSync(descriptors[1], "written there", 0);
      await ipc.sendDescriptors(socket, descriptors, Buffer.from("back"));
      for (const fd of descriptors) closeSync(fd);`);
    const [one, two] = [file("one"), file("two")];
    await sendDescriptors(socket, [one, two], Buffer.from("hello"));
    expect(await program.heard()).toEqual(["hello", ["one", "two"]]);
    const back = await receiveDescriptors(socket);
    expect(String(back?.data)).toBe("back");
    const [first = -1, second = -1] = back?.descriptors ?? [];
    expect(fstatSync(first).ino).toBe(fstatSync(one).ino);
    expect(textOf(second)).toBe("written there");
    expect(readFileSync(`/proc/self/fdinfo/${first}`, "utf8")).toMatch(/^flags:\s+0?2\d{6}$/m);
    for (const fd of [one, two, first, second]) closeSync(fd);
    await program.end();
  });

  test("of a sender that has closed them, and was killed, still arrive", async () => {
    const [program, socket] = await client(`
      const fd = openSync("/proc/self/status");
      await ipc.sendDescriptors(socket, [fd]);
      closeSync(fd);
      say("sent");`);
    await program.heard();
    await program.kill();
    const received = await receiveDescriptors(socket);
    expect(received?.data).toEqual(Buffer.from([0]));
    expect(fstatSync(received?.descriptors[0] ?? -1).isFile()).toBe(true);
    closeSync(received?.descriptors[0] ?? -1);
    expect(await receiveDescriptors(socket)).toBeNull();
  });

  test("go behind what was written before, and bytes without them come alone", async () => {
    const [program, socket] = await client(`
      socket.write("before");
      const fd = openSync("/dev/null");
      await ipc.sendDescriptors(socket, [fd], Buffer.from("with"));
      socket.write("after");
      say("sent");`);
    await program.heard();
    const got: [string, number][] = [];
    let text = "";
    while (text.length < "beforewithafter".length) {
      const part = await receiveDescriptors(socket);
      text += part?.data;
      got.push([String(part?.data), part?.descriptors.length ?? -1]);
      for (const fd of part?.descriptors ?? []) closeSync(fd);
    }
    expect(text).toBe("beforewithafter");
    expect(got.filter(([, descriptors]) => descriptors === 1)).toHaveLength(1);
    expect(got.find(([, descriptors]) => descriptors === 1)?.[0]).toMatch(/with$/);
    await program.end();
  });

  test("253 go at once, with more data than the socket takes at a time; nothing is left open here", async () => {
    const [program, socket] = await client(`
      let [bytes, files] = [0, 0];
      for (;;) {
        const part = await ipc.receiveDescriptors(socket);
        if (part === null) break;
        bytes += part.data.length;
        files += part.descriptors.length;
        for (const fd of part.descriptors) closeSync(fd);
      }
      say([bytes, files]);`);
    const one = file("one");
    const before = descriptors();
    const size = 3_000_000;
    await sendDescriptors(socket, new Array<number>(253).fill(one), Buffer.alloc(size, 1));
    expect(descriptors()).toBe(before);
    socket.end();
    expect(await program.heard()).toEqual([size, 253]);
    closeSync(one);
    await program.end();
  });

  test("that cannot be opened here are EMFILE, and none is kept", async () => {
    const connection = accepted();
    const program = new NodeProgram(
      `
      import { readdirSync } from "node:fs";
      import { connect } from "node:net";
      const socket = connect(${JSON.stringify(path)});
      socket.pause();
      await new Promise((resolve) => socket.once("connect", resolve));
      const before = readdirSync("/proc/self/fd").length;
      const code = await ipc.receiveDescriptors(socket).catch((error) => error.code);
      say([code, readdirSync("/proc/self/fd").length - before]);`,
      [],
      { wrapper: ["prlimit", "--nofile=64"] },
    );
    const socket = await connection;
    const one = file("one");
    await sendDescriptors(socket, new Array<number>(100).fill(one));
    expect(await program.heard()).toEqual(["EMFILE", 0]);
    closeSync(one);
    await program.end();
  });

  test("are refused where they cannot be sent or received, with words", async () => {
    const [program, socket] = await client("say(true); process.stdin.once('data', () => socket.destroy());");
    await program.heard();
    await expect(sendDescriptors(socket, [])).rejects.toThrow(RangeError);
    await expect(sendDescriptors(socket, new Array<number>(254).fill(0))).rejects.toThrow(/1 to 253/);
    await expect(sendDescriptors(socket, [0], new Uint8Array(0))).rejects.toThrow(RangeError);
    await expect(sendDescriptors(socket, [123_456])).rejects.toMatchObject({ name: "IpcError", code: "EBADF" });
    await expect(sendDescriptors(socket, ["1"] as unknown as number[])).rejects.toThrow(TypeError);
    const aborted = receiveDescriptors(socket, { signal: AbortSignal.timeout(20) });
    await expect(aborted).rejects.toMatchObject({ name: "AbortError" });
    const reading = connect(path);
    connections.push(reading);
    await new Promise((resolve) => reading.once("connect", resolve));
    await expect(receiveDescriptors(reading)).rejects.toThrow(/EBUSY.*pauseOnConnect/);
    program.say("close");
    await program.end();
    expect(await receiveDescriptors(socket)).toBeNull();
    const null0 = openSync("/dev/null", "r");
    await expect(sendDescriptors(socket, [null0])).rejects.toMatchObject({ code: "EPIPE" });
    closeSync(null0);
    const output = file("");
    writeSync(output, "x");
    await expect(sendDescriptors(output, [output])).rejects.toMatchObject({ code: "ENOTSOCK" });
    closeSync(output);
  });
});
