// The other end of the talk benchmark, a process of its own: a ptalk peer that accepts what it gets, a plain node:dgram
// echo, and, when asked, a client of a relay that answers. Prints where they are; a line "count" is answered with what
// has arrived; ends with its standard input.
import { createSocket } from "node:dgram";
import { createInterface } from "node:readline";
import { Identity } from "../../dist/crypto/identity.js";
import { PeerTransport } from "../../dist/peer/transport.js";
import { RELAYS } from "./relays.js";

const address = "127.0.0.1";
const identity = Identity.generate();
const transport = await PeerTransport.open({ identity, address });
let received = 0;
let disorder = 0;
let last = "";
transport.on("message", ({ id }, settle) => {
  received++;
  // Ids are zero-padded and count up within one sender.
  if (id <= last && !id.endsWith("00000000")) disorder++;
  last = id;
  settle("accepted");
});

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const echo = createSocket("udp4");
echo.on("message", (datagram, from) => echo.send(datagram, from.port, from.address));
echo.bind(0, address, () => {
  say({ key: identity.publicKey.toString("base64"), address, port: transport.port, echo: echo.address().port });
});

createInterface(process.stdin)
  .on("line", async (line) => {
    const [command, relay, port] = line.split(" ");
    if (command === "count") return say({ received, disorder });
    const send = await RELAYS[relay].join(Number(port), "bob", () => send("alice"));
    say({ joined: relay });
  })
  .on("close", () => process.exit(0));
