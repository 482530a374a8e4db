// One end of a file over udx-native for files.bench.js: node udx.js receive TO | send FROM PORT. Two processes, as ptalk's are.
// Installed only for this: npm install --no-save udx-native, or NODE_PATH to where it is.
import { createReadStream, createWriteStream } from "node:fs";
import { createRequire } from "node:module";
import { pipeline } from "node:stream/promises";

const BLOCK = 2 ** 16;
const [role, path, port] = process.argv.slice(2);
const UDX = createRequire(import.meta.url)("udx-native");

const socket = new UDX().createSocket();
socket.bind(0, "127.0.0.1");
const { port: own } = socket.address();
const stream = socket.udx.createStream(role === "send" ? 1 : 2);
if (role === "send") {
  stream.connect(socket, 2, Number(port), "127.0.0.1");
  process.send({ port: own });
  process.once("message", async () => {
    await pipeline(createReadStream(path, { highWaterMark: BLOCK }), stream);
    process.send("sent");
  });
} else {
  process.once("message", async ({ from }) => {
    stream.connect(socket, 1, from, "127.0.0.1");
    process.send("connected");
    await pipeline(stream, createWriteStream(path));
    process.send("received");
    stream.end();
  });
  process.send({ port: own });
}
