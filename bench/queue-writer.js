// The other process of bench/queues.js: writes COUNT messages of SIZE bytes by the way named, or sends single bytes back.
// Arguments: way, where, size, count. "ring" NAME, "queue" NAME, "unix" PATH, "pipe" (to descriptor 3), "send"; "echo-unix" PATH, "echo-sem" NAME.
import { once } from "node:events";
import { connect, Socket } from "node:net";
import { MessageQueue, RingBuffer, Semaphore } from "../dist/ipc/index.js";

const [, , way, where, size, count] = process.argv;
const messages = Number(count ?? 0);
const message = Buffer.alloc(Number(size ?? 0), 1);

async function writeFramed(socket) {
  const framed = Buffer.concat([Buffer.alloc(4), message]);
  framed.writeUInt32LE(message.length);
  for (let i = 0; i < messages; i++) if (!socket.write(framed)) await once(socket, "drain");
  socket.end();
}

const ways = {
  ring: async () => {
    const ring = RingBuffer.open(where, { role: "writer" });
    for (let i = 0; i < messages; i++) if (!ring.tryPush(message)) await ring.push(message);
    ring.close();
  },
  queue: async () => {
    const queue = MessageQueue.open(where, { role: "writer" });
    for (let i = 0; i < messages; i++) if (!queue.trySend(message)) await queue.send(message);
  },
  unix: () => writeFramed(connect(where)),
  pipe: () => writeFramed(new Socket({ fd: 3, readable: false, writable: true })),
  send: async () => {
    for (let i = 0; i < messages; i++)
      if (!process.send(message)) await new Promise((resolve) => setImmediate(resolve));
  },
  "echo-unix": () => {
    const socket = connect(where);
    socket.on("data", (bytes) => socket.write(bytes));
  },
  "echo-sem": async () => {
    const [ping, pong] = ["ping", "pong"].map((end) => Semaphore.open(where + end));
    for (;;) {
      await ping.waitAsync();
      pong.post();
    }
  },
};
await ways[way]();
