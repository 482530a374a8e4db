// Talking: what a confirmed, encrypted message costs beside an empty UDP echo and beside the relays people use, how many
// go one way with a full window, and what is left of it under 30 % loss each way.
import { execFile, spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { join } from "node:path";
import { promisify } from "node:util";
import { Identity } from "../dist/crypto/identity.js";
import { PeerTransport } from "../dist/peer/transport.js";
import { quantile, startReceiver } from "./talk/common.js";
import { RELAYS, startRelay } from "./talk/relays.js";

const WARM_UP = 3000;
const ROUNDS = 12; // all exchanges take turns: what disturbs the machine disturbs each of them
const TRIPS = 500;
const ONE_WAY = 200_000;
const WINDOW = 1000;
const TEXT = "x".repeat(64);

export async function run(report) {
  const receiver = await startReceiver();
  const transport = await PeerTransport.open({ identity: Identity.generate(), address: "127.0.0.1" });
  let count = 0;
  const send = () =>
    transport.send(receiver.peer, { from: "alice", text: TEXT, id: `b${String(count++).padStart(8, "0")}` });
  const relays = [];
  try {
    const exchanges = { ptalk: send, echo: await echoThrough(receiver.echoPort) };
    for (const name of Object.keys(RELAYS)) {
      const relay = await startRelay(name);
      if (!relay) continue;
      relays.push(relay);
      exchanges[name] = await exchangeThrough(name, relay.port, receiver);
    }
    await roundTrips(report, exchanges);
    await oneWay(report, send);
    const { received, disorder } = await receiver.ask("count");
    report.row({ name: "messages lost, repeated or out of order", value: count - received + disorder, unit: "" });
  } finally {
    await transport.close();
    receiver.stop();
    for (const relay of relays) await relay.stop();
  }
  await underLoss(report);
}

async function roundTrips(report, exchanges) {
  const times = {};
  for (const [name, exchange] of Object.entries(exchanges)) {
    times[name] = [];
    for (let i = 0; i < WARM_UP; i++) await exchange();
  }
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, exchange] of Object.entries(exchanges)) {
      for (let i = 0; i < TRIPS; i++) {
        const start = process.hrtime.bigint();
        await exchange();
        times[name].push(Number(process.hrtime.bigint() - start) / 1000);
      }
    }
  }
  const median = Object.fromEntries(Object.entries(times).map(([name, values]) => [name, quantile(values, 0.5)]));
  const { ptalk, echo, ...others } = median;
  const ratio = ptalk / echo;
  report.row({ name: "empty node:dgram echo", value: echo, unit: "us" });
  report.row({
    name: "confirmed message, encrypted",
    value: ptalk,
    unit: "us",
    ratio,
    target: "at most 1.3x the echo",
    met: ratio <= 1.3,
  });
  report.row({ name: "  99 % of them", value: quantile(times.ptalk, 0.99), unit: "us" });
  for (const [name, value] of Object.entries(others)) {
    const target = "ptalk ahead of it";
    report.row({
      name: `${name}: there and back`,
      value,
      unit: "us",
      ratio: value / ptalk,
      target,
      met: ptalk < value,
    });
  }
}

async function oneWay(report, send) {
  const start = process.hrtime.bigint();
  await new Promise((resolve, reject) => {
    let [sent, settled] = [0, 0];
    const pump = () => {
      for (; sent - settled < WINDOW && sent < ONE_WAY; sent++) {
        send().then(() => {
          settled++;
          if (settled === ONE_WAY) resolve();
          else if (sent - settled < WINDOW / 2) pump();
        }, reject);
      }
    };
    pump();
  });
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;
  report.row({ name: "one way, full window, 64 bytes", value: ONE_WAY / seconds, unit: "messages/s" });
}

async function underLoss(report) {
  if (spawnSync("unshare", ["-n", "sh", "-c", "ip link set lo up && nft list ruleset"]).status !== 0) {
    report.row({ name: "30 % loss each way: no network namespace with nft here", value: 0, unit: "" });
    return;
  }
  const program = join(import.meta.dirname, "talk/loss.js");
  const { stdout } = await promisify(execFile)("unshare", ["-n", process.execPath, program], { timeout: 300_000 });
  const { messages, firsts, counted, MESSAGES } = JSON.parse(stdout);
  const exact = counted.received === MESSAGES && counted.disorder === 0;
  const rows = [
    ["30 % loss each way: median", messages.median, "under 10 ms", messages.median < 10],
    ["30 % loss each way: 99 %", messages.p99, "under 600 ms", messages.p99 < 600],
    ["30 % loss each way: longest", messages.max],
    ["  first message, handshake included: median", firsts.median],
    ["  first message, handshake included: 99 %", firsts.p99, "under 600 ms", firsts.p99 < 600],
  ];
  for (const [name, value, target, met] of rows) {
    report.row({ name, value, unit: "ms", ...(target ? { target, met: met && exact } : {}) });
  }
}

async function echoThrough(port) {
  const socket = createSocket("udp4");
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  socket.unref();
  const datagram = Buffer.from(TEXT);
  let arrived;
  socket.on("message", () => arrived());
  return () =>
    new Promise((resolve) => {
      arrived = resolve;
      socket.send(datagram, port, "127.0.0.1");
    });
}

async function exchangeThrough(name, port, receiver) {
  let arrived;
  const send = await RELAYS[name].join(port, "alice", () => arrived?.());
  await receiver.ask(`join ${name} ${port}`);
  return () =>
    new Promise((resolve) => {
      arrived = resolve;
      send("bob");
    });
}
