// Receives files for files.bench.js: node receiver.js SERVER STATE-DIR FOLDER. Tells its parent when it is on, and what each file has cost.
import { TalkClient } from "../../dist/index.js";

const [server, stateDir, folder] = process.argv.slice(2);
const client = await TalkClient.connect({ name: "receiver", server, stateDir });
client.on("file", async (offer) => {
  const before = process.cpuUsage();
  const { size, path } = await offer.accept(folder, { maxSize: 2 ** 40 });
  const { user, system } = process.cpuUsage(before);
  process.send({ path, cpuS: (user + system) / 1e6, bytes: size, rssMiB: process.memoryUsage().rss / 2 ** 20 });
});
process.on("disconnect", () => client.close());
process.send("on");
