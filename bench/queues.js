// Messages from one process to another: RingBuffer beside a Unix socket and a pipe (length and bytes, as programs frame them) and
// process.send (advanced serialisation); and a round trip of two waitAsync beside one byte there and back over a Unix socket. Each figure is
// the best of some rounds, which alternate. Beside them MessageQueue, which C programs can be at the other end of, and the socket in C.
import { fork, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MessageQueue, RingBuffer, Semaphore } from "../dist/ipc/index.js";

const WRITER = join(import.meta.dirname, "queue-writer.js");
const ROUNDS = 12;
const RING_BYTES = 1 << 20;
const TRIPS = 2000;
const TRIP_ROUNDS = 10;
/** The longest message of a queue that unprivileged users get: /proc/sys/fs/mqueue/msgsize_max. */
const QUEUE_MESSAGE_MAX = 8192;
/** Size and number of messages; fewer for process.send, which is slow. */
const LOADS = [
  { size: 64, label: "64 B", count: 200_000, sent: 20_000, socketTarget: 3 },
  { size: 65_536, label: "64 KiB", count: 5_000, sent: 400, socketTarget: 5 },
];

const now = () => Number(process.hrtime.bigint());

async function ring(size, count) {
  const name = `/ptalk-bench-ring-${process.pid}`;
  const queue = RingBuffer.create(name, { size: RING_BYTES, role: "reader" });
  const writer = spawn(process.execPath, [WRITER, "ring", name, String(size), String(count)], { stdio: "inherit" });
  const target = Buffer.alloc(size);
  let start = 0;
  let taken = 0;
  try {
    while (taken < count) {
      if (queue.tryPopInto(target) === -1 && (await queue.pop()) === null) break;
      if (taken++ === 0) start = now();
    }
    return (now() - start) / (taken - 1);
  } finally {
    queue.close();
    RingBuffer.unlink(name);
    if (writer.exitCode === null) await once(writer, "exit");
  }
}

/** Nanoseconds a message: takes the frames of a stream apart, as every receiver has to. */
async function frames(stream) {
  let rest = Buffer.alloc(0);
  let start = 0;
  let taken = 0;
  for await (const bytes of stream) {
    if (start === 0) start = now();
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32LE(0)) {
      rest = rest.subarray(4 + rest.readUInt32LE(0));
      taken++;
    }
  }
  return (now() - start) / taken;
}

async function unix(size, count) {
  const path = join(tmpdir(), `ptalk-bench-${process.pid}.sock`);
  const server = createServer().listen(path);
  await once(server, "listening");
  const writer = spawn(process.execPath, [WRITER, "unix", path, String(size), String(count)], { stdio: "inherit" });
  const [socket] = await once(server, "connection");
  const each = await frames(socket);
  server.close();
  if (writer.exitCode === null) await once(writer, "exit");
  return each;
}

async function pipe(size, count) {
  const stdio = ["inherit", "inherit", "inherit", "pipe"];
  const writer = spawn(process.execPath, [WRITER, "pipe", "-", String(size), String(count)], { stdio });
  const each = await frames(writer.stdio[3]);
  if (writer.exitCode === null) await once(writer, "exit");
  return each;
}

async function send(size, count) {
  const writer = fork(WRITER, ["send", "-", String(size), String(count)], { serialization: "advanced" });
  let start = 0;
  let taken = 0;
  await new Promise((resolve) =>
    writer.on("message", () => {
      if (taken++ === 0) start = now();
      if (taken === count) resolve();
    }),
  );
  const each = (now() - start) / (count - 1);
  writer.disconnect();
  await once(writer, "exit");
  return each;
}

/** The kernel's queue: ten messages at a time, as unprivileged users get it. */
async function kernelQueue(size, count) {
  const name = `/ptalk-bench-queue-${process.pid}`;
  const queue = MessageQueue.create(name, { messageSize: size, role: "reader" });
  const writer = spawn(process.execPath, [WRITER, "queue", name, String(size), String(count)], { stdio: "inherit" });
  let start = 0;
  let taken = 0;
  try {
    while (taken < count) {
      if (queue.tryReceive() === null) await queue.receive();
      if (taken++ === 0) start = now();
    }
    return (now() - start) / (taken - 1);
  } finally {
    queue.close();
    MessageQueue.unlink(name);
    if (writer.exitCode === null) await once(writer, "exit");
  }
}

async function bestOf(rounds, measures) {
  const best = measures.map(() => Number.POSITIVE_INFINITY);
  for (let round = 0; round < rounds; round++)
    for (const [i, measure] of measures.entries()) best[i] = Math.min(best[i], await measure());
  return best;
}

export async function queues(report, reference) {
  for (const { size, label, count, sent, socketTarget } of LOADS) {
    const queued = size <= QUEUE_MESSAGE_MAX ? [() => kernelQueue(size, sent)] : [];
    const [ours, socket, piped, sending, inC, kernel] = await bestOf(ROUNDS, [
      () => ring(size, count),
      () => unix(size, count),
      () => pipe(size, count),
      () => send(size, sent),
      () => reference.messages(size, count),
      ...queued,
    ]);
    report.row({ name: `${label} by a Unix socket in C`, value: inC / 1000, unit: "us" });
    if (kernel !== undefined) report.row({ name: `${label} by MessageQueue`, value: kernel / 1000, unit: "us" });
    report.row({ name: `${label} by a Unix socket`, value: socket / 1000, unit: "us" });
    report.row({ name: `${label} by a pipe`, value: piped / 1000, unit: "us" });
    report.row({ name: `${label} by process.send`, value: sending / 1000, unit: "us" });
    const ratio = Math.min(socket, sending) / ours;
    report.row({
      name: `${label} by RingBuffer (ratio: how far ahead of the better of socket and send)`,
      value: ours / 1000,
      unit: "us",
      ratio,
      target: `at least ${socketTarget}x`,
      met: ratio >= socketTarget,
    });
  }
}

/** A round trip: [two waitAsync, a byte over a Unix socket], in nanoseconds. */
export async function roundTrips(report, reference) {
  const path = join(tmpdir(), `ptalk-bench-${process.pid}-trip.sock`);
  const name = `/ptalk-bench-trip-${process.pid}`;
  const [ping, pong] = ["ping", "pong"].map((end) => Semaphore.create(name + end));
  const server = createServer().listen(path);
  await once(server, "listening");
  const others = [
    spawn(process.execPath, [WRITER, "echo-sem", name], { stdio: "inherit" }),
    spawn(process.execPath, [WRITER, "echo-unix", path], { stdio: "inherit" }),
  ];
  const [socket] = await once(server, "connection");
  let answered;
  socket.on("data", () => answered());
  const byte = Buffer.from("x");
  const trips = async (trip) => {
    const start = now();
    for (let i = 0; i < TRIPS; i++) await trip();
    return (now() - start) / TRIPS;
  };
  try {
    const [waits, bytes, inC] = await bestOf(TRIP_ROUNDS, [
      () =>
        trips(() => {
          ping.post();
          return pong.waitAsync();
        }),
      () =>
        trips(() => {
          const answer = new Promise((resolve) => (answered = resolve));
          socket.write(byte);
          return answer;
        }),
      () => reference.trips(TRIPS),
    ]);
    const ratio = waits / bytes;
    report.row({ name: "a byte over a Unix socket and back in C", value: inC / 1000, unit: "us" });
    report.row({ name: "a byte over a Unix socket and back", value: bytes / 1000, unit: "us" });
    report.row({
      name: "post to waitAsync and back (ratio: the socket)",
      value: waits / 1000,
      unit: "us",
      ratio,
      target: "at most 0.8x",
      met: ratio <= 0.8,
    });
  } finally {
    for (const other of others) other.kill();
    socket.destroy();
    server.close();
    for (const semaphore of [ping, pong]) {
      semaphore.close();
      semaphore.unlink();
    }
    rmSync(path, { force: true });
  }
}
