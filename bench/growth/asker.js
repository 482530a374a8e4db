// A client that asks LOOKUP again and again, in a process of its own: what it waits is the server's doing. Argument: port. Sends how long
// each took when its parent says anything, and ends.
import { Identity } from "../../dist/crypto/identity.js";
import { Client } from "../server/client.js";
import { pause } from "../server/programs.js";

const ASK_EVERY_MS = 5;
const asker = new Client(Number(process.argv[2]));
await asker.register("asker", Identity.generate());
let isOver = false;
process.on("message", () => {
  isOver = true;
});
const waits = [];
while (!isOver) {
  const at = performance.now();
  await asker.ask("LOOKUP", "asker");
  waits.push(performance.now() - at);
  await pause(ASK_EVERY_MS);
}
process.send(waits, () => process.exit());
