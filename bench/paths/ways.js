// Runs in a network namespace of its own whose firewall drops some of all UDP datagrams, each way: node ways.js PERCENT. Or with a way that
// delays them, each way: node ways.js PERCENT DELAY_MS; with "roam" behind it, the sender has another port after half of the messages, as
// behind a NAT that forgets its mapping. Sends messages one
// after the other, each when the one before it is confirmed, over ptalk and over udx-native (an echo of as many bytes), and prints what each took.
// udx-native is installed only for this: npm install --no-save udx-native, or NODE_PATH to where it is.
import { execFileSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createRequire } from "node:module";
import { Identity } from "../../dist/crypto/identity.js";
import { PeerTransport } from "../../dist/peer/transport.js";
import { quantile, startReceiver } from "../talk/common.js";

const MESSAGES = 200;
/** As long as a message may take. */
const LIMIT_MS = 60_000;
/** As long as all of them may take over udx: its timeouts begin at a second. What has come until then is measured. */
const UDX_MS = 30_000;
const TEXT = "x".repeat(64);
const percent = Number(process.argv[2]);
const delayMs = process.argv[3] === undefined ? null : Number(process.argv[3]);
const isRoaming = process.argv[4] === "roam";

execFileSync("ip", ["link", "set", "lo", "up"]);
if (percent > 0 && delayMs === null) {
  const rule = `meta l4proto udp numgen random mod 100 < ${percent} drop`;
  execFileSync("nft", ["-f", "-"], {
    input: `table inet bench {\n chain in {\n type filter hook input priority 0\n ${rule}\n }\n}`,
  });
}
const figures = (values) => ({ median: quantile(values, 0.5), p99: quantile(values, 0.99), max: quantile(values, 1) });

/** A way to a port of this host that delays datagrams and loses some, and comes from another port after move(). */
async function openWay(port) {
  const [near, sides] = [createSocket("udp4"), []];
  let sender = null;
  const pass = (socket, bytes, to) => {
    if (Math.random() * 100 < percent) return;
    setTimeout(() => {
      if (sides.includes(socket) || socket === near) socket.send(bytes, to.port, "127.0.0.1");
    }, delayMs);
  };
  const move = async () => {
    const far = createSocket("udp4");
    far.on("message", (bytes) => pass(near, bytes, sender));
    far.bind(0, "127.0.0.1");
    await once(far, "listening");
    sides.shift()?.close();
    sides.push(far);
  };
  near.on("message", (bytes, from) => {
    sender = from;
    pass(sides[0], bytes, { port });
  });
  near.bind(0, "127.0.0.1");
  await Promise.all([once(near, "listening"), move()]);
  return { port: near.address().port, farPort: () => sides[0].address().port, move };
}

async function overPtalk() {
  const receiver = await startReceiver();
  const way = delayMs === null ? null : await openWay(receiver.peer.endpoints[0].port);
  const peer =
    way === null ? receiver.peer : { ...receiver.peer, endpoints: [{ address: "127.0.0.1", port: way.port }] };
  const transport = await PeerTransport.open({ identity: Identity.generate(), address: "127.0.0.1" });
  const delays = [];
  for (let i = 0; i < MESSAGES; i++) {
    const message = { from: "alice", text: TEXT, id: `m${String(i).padStart(8, "0")}` };
    if (isRoaming && i === MESSAGES / 2) await way.move();
    const { ms } = await transport.send(peer, message, { timeoutMs: LIMIT_MS });
    delays.push(ms);
  }
  await transport.close();
  receiver.stop();
  return { done: delays.length, ...figures(delays) };
}

async function overUdx() {
  let UDX;
  try {
    UDX = createRequire(import.meta.url)("udx-native");
  } catch {
    return null;
  }
  const ends = [1, 2].map((id) => {
    const socket = new UDX().createSocket();
    socket.bind(0, "127.0.0.1");
    return { socket, stream: socket.udx.createStream(id) };
  });
  const [here, there] = ends;
  const ports = { here: here.socket.address().port, there: there.socket.address().port };
  const way = delayMs === null ? null : await openWay(ports.there);
  here.stream.connect(here.socket, 2, way?.port ?? ports.there, "127.0.0.1");
  if (way === null) there.stream.connect(there.socket, 1, ports.here, "127.0.0.1");
  else there.stream.connect(there.socket, 1, way.farPort(), "127.0.0.1");
  there.stream.on("data", (bytes) => there.stream.write(bytes));
  const delays = [];
  const isOver = new Promise((resolve) => setTimeout(resolve, UDX_MS, "over"));
  const isClosed = new Promise((resolve) => {
    for (const { stream } of ends) stream.on("error", () => {}).once("close", () => resolve("over"));
  });
  for (let i = 0; i < MESSAGES; i++) {
    if (isRoaming && i === MESSAGES / 2) await way.move();
    const at = performance.now();
    let left = TEXT.length;
    const echoed = new Promise((resolve) => {
      const onData = (bytes) => {
        left -= bytes.length;
        if (left > 0) return;
        here.stream.off("data", onData);
        resolve();
      };
      here.stream.on("data", onData);
      here.stream.write(Buffer.from(TEXT));
    });
    if ((await Promise.race([echoed, isOver, isClosed])) === "over") break;
    delays.push(performance.now() - at);
  }
  return { done: delays.length, ...(delays.length > 0 ? figures(delays) : {}) };
}

process.stdout.write(`${JSON.stringify({ ptalk: await overPtalk(), udx: await overUdx() })}\n`);
process.exit(0);
