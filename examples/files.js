// Takes the files that verified senders offer into a folder, and sends each file named on the command line to somebody.
//
//     node files.js bob ./inbox               receive
//     node files.js alice ./inbox bob a.pdf   send, and receive meanwhile
import { mkdirSync } from "node:fs";
import { TalkClient } from "ptalk";

const [name, folder, to, ...paths] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const client = await TalkClient.connect({ name, startServer: true });

client.on("file", async (offer) => {
  if (!offer.verified) {
    offer.decline("only from people I know");
    return;
  }
  try {
    const { path, ms } = await offer.accept(folder, { maxSize: 100 * 2 ** 20 });
    console.log(`${offer.from} sent ${path} in ${Math.round(ms)} ms`);
  } catch (error) {
    console.error(`${offer.name} of ${offer.from}: ${error.message}`); // what has come is kept for the next time
  }
});

process.once("SIGINT", () => client.close());

for (const path of paths) {
  const onProgress = ({ state, done, size }) => console.log(`${path}: ${state}, ${done} of ${size} bytes`);
  const { ms } = await client.sendFile(to, path, { onProgress });
  console.log(`${path} is on ${to}'s disk after ${Math.round(ms)} ms`);
}
