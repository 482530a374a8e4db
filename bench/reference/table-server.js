// A process of bench/table.bench.js: holds a table of N clients for others to look at, and removes it when told to end.
// Arguments: table name, clients, lock name, then how it writes once told to:
//   still    not at all
//   turns    one insert or remove in a write section of its own in each turn of its event loop, as a server does
//   hammer   the same without a pause
// then the inode of the socket that listens on the port in the table's name.

import { ClientTable } from "../../dist/directory/shm/client-table.js";
import { ReadersWriterLock } from "../../dist/ipc/index.js";
import { benchClient } from "./clients.js";

const [, , name, clients, lockName, how, listener] = process.argv;
const count = Number(clients);
const table = ClientTable.create(name, { capacity: count + 1, listener: Number(listener) });
table.claim();
const lock = ReadersWriterLock.openOrCreate(lockName, { repair: () => void table.repair() });
process.once("disconnect", () => {
  table.unlink();
  process.exit(0);
});
for (let i = 0; i < count; i++) table.insert(benchClient(`user${i}`, i));

let handle = null;
function change() {
  if (handle) table.remove(handle.slot, handle.version);
  handle = handle ? null : table.insert(benchClient("guest", 1));
}
let sections = 0;
async function write() {
  for (;;) {
    await lock.withWrite(change);
    sections++;
    if (how === "turns" || sections % 1000 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
}
process.on("message", () => process.send(sections));
process.send("ready");
if (how !== "still") write();
