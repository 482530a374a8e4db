// The other end of the talk benchmark, a process of its own: a ptalk peer that accepts what it gets, and a plain
// node:dgram echo. Prints where they are; ends with its standard input.
import { createSocket } from "node:dgram";
import { PeerTransport } from "../../dist/client/peer-transport.js";
import { Identity } from "../../dist/crypto/identity.js";

const address = process.argv[2] ?? "127.0.0.1";
const identity = Identity.generate();
const transport = await PeerTransport.open({ identity, address });
let received = 0;
let last = -1;
let disorder = 0;
transport.on("message", (message, accept) => {
  received++;
  const number = Number.parseInt(message.text, 10);
  if (number !== last + 1) disorder++;
  last = number;
  accept();
});

const echo = createSocket("udp4");
echo.on("message", (datagram, from) => echo.send(datagram, from.port, from.address));
echo.bind(0, address, () => {
  const peer = { key: identity.publicKey.toString("base64"), address, port: transport.port, echo: echo.address().port };
  process.stdout.write(`${JSON.stringify(peer)}\n`);
});
process.stdin.on("data", () => process.stdout.write(`${JSON.stringify({ received, disorder })}\n`));
process.stdin.on("end", () => process.exit(0));
