// Runs in a network namespace of its own whose firewall drops 30 % of all UDP datagrams, each way. Sends messages one
// after the other, then opens new transports for handshakes, and prints what that took.
import { execFileSync } from "node:child_process";
import { Identity } from "../../dist/crypto/identity.js";
import { PeerTransport } from "../../dist/peer/transport.js";
import { quantile, startReceiver } from "./common.js";

const MESSAGES = 2000;
const HANDSHAKES = 1000; // ten of them above the 99 %
const LANES = 4; // of handshakes at once; together fewer a second than one address may begin without a cookie
const RULES = `table inet bench {
  chain in {
    type filter hook input priority 0
    meta l4proto udp numgen random mod 100 < 30 drop
  }
}`;

execFileSync("ip", ["link", "set", "lo", "up"]);
execFileSync("nft", ["-f", "-"], { input: RULES });
const receiver = await startReceiver();
const delays = [];
const transport = await PeerTransport.open({ identity: Identity.generate(), address: "127.0.0.1" });
for (let i = 0; i < MESSAGES; i++) {
  const id = `m${String(i).padStart(8, "0")}`;
  const { ms } = await transport.send(
    receiver.peer,
    { from: "alice", text: "x".repeat(64), id },
    { timeoutMs: 60_000 },
  );
  delays.push(ms);
}
const counted = await receiver.ask("count");
const firsts = [];
async function handshakes() {
  for (let i = 0; i < HANDSHAKES / LANES; i++) {
    const other = await PeerTransport.open({ identity: Identity.generate(), address: "127.0.0.1" });
    const { ms } = await other.send(receiver.peer, { from: "x", text: "x", id: "h00000000" }, { timeoutMs: 60_000 });
    firsts.push(ms);
    await other.close();
  }
}
await Promise.all(Array.from({ length: LANES }, handshakes));
await transport.close();
receiver.stop();
const figures = (values) => ({ median: quantile(values, 0.5), p99: quantile(values, 0.99), max: quantile(values, 1) });
process.stdout.write(`${JSON.stringify({ messages: figures(delays), firsts: figures(firsts), counted, MESSAGES })}\n`);
