// Clients' sessions with the server, many in one process: all that a client does about its server, without a chat socket.
// Arguments: port, number of the first, how many. Says "on" when all are, then "back" for each that has come back.

import { ServerSession } from "../../dist/client/server-session.js";
import { Identity } from "../../dist/crypto/identity.js";
import { inParallel } from "./server-load.js";

const AT_ONCE = 25;
const CHAT_PORT = 4_000;
const KEYS = 64;
const [port, first, count] = process.argv.slice(2).map(Number);
const keys = Array.from({ length: KEYS }, () => Identity.generate());
const address = { host: "127.0.0.1", port };

await inParallel(count, AT_ONCE, async (i) => {
  const identity = keys[i % KEYS];
  const options = { name: `client${first + i}`, address, identity, insecure: false, checkCertificate() {} };
  const session = await ServerSession.open(options);
  for (let k = 1; k < 8; k++) session.dealsWith(`client${Math.max(0, first + i - k)}`);
  await session.register(CHAT_PORT);
  session.on("server", ({ state }) => state === "back" && process.send("back"));
  session.on("gone", (error) => process.send({ gone: error.message }));
});
process.on("disconnect", () => process.exit());
process.send("on");
