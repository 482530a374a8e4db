// Runs in a network namespace of its own whose firewall drops some of all UDP datagrams, each way: node ways.js PERCENT. Sends messages one
// after the other, each when the one before it is confirmed, over ptalk and over udx-native (an echo of as many bytes), and prints what each took.
// udx-native is installed only for this: npm install --no-save udx-native, or NODE_PATH to where it is.
import { execFileSync } from "node:child_process";
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

execFileSync("ip", ["link", "set", "lo", "up"]);
if (percent > 0) {
  const rule = `meta l4proto udp numgen random mod 100 < ${percent} drop`;
  execFileSync("nft", ["-f", "-"], {
    input: `table inet bench {\n chain in {\n type filter hook input priority 0\n ${rule}\n }\n}`,
  });
}
const figures = (values) => ({ median: quantile(values, 0.5), p99: quantile(values, 0.99), max: quantile(values, 1) });

async function overPtalk() {
  const receiver = await startReceiver();
  const transport = await PeerTransport.open({ identity: Identity.generate(), address: "127.0.0.1" });
  const delays = [];
  for (let i = 0; i < MESSAGES; i++) {
    const message = { from: "alice", text: TEXT, id: `m${String(i).padStart(8, "0")}` };
    const { ms } = await transport.send(receiver.peer, message, { timeoutMs: LIMIT_MS });
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
  here.stream.connect(here.socket, 2, there.socket.address().port, "127.0.0.1");
  there.stream.connect(there.socket, 1, here.socket.address().port, "127.0.0.1");
  there.stream.on("data", (bytes) => there.stream.write(bytes));
  const delays = [];
  const isOver = new Promise((resolve) => setTimeout(resolve, UDX_MS, "over"));
  const isClosed = new Promise((resolve) => {
    for (const { stream } of ends) stream.on("error", () => {}).once("close", () => resolve("over"));
  });
  for (let i = 0; i < MESSAGES; i++) {
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
