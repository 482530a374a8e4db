// Takes the files that verified senders offer into a folder, and sends each file named on the command line to somebody.
//
//     node files.js bob ./inbox               receive
//     node files.js alice ./inbox bob a.pdf   send, and receive meanwhile
import { mkdirSync } from "node:fs";
import { TalkClient } from "ptalk";

const [name, folder, to, ...paths] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const server = process.env.PTALK_SERVER;
const client = await TalkClient.connect({ name, ...(server ? { server } : { startServer: true }) });
console.log(`on as ${client.name}`);

// What is under way when this is aborted is given up; what has come of it is kept, and need not be sent again.
const leaving = new AbortController();
const { signal } = leaving;

client.on("file", async (offer) => {
  if (!offer.verified) {
    offer.decline("only from people I know");
    return;
  }
  try {
    const { path, ms } = await offer.accept(folder, { maxSize: 100 * 2 ** 20, signal });
    console.log(`${offer.from} sent ${path} in ${Math.round(ms)} ms`);
  } catch (error) {
    console.error(`${offer.name} of ${offer.from}: ${error.message}`);
  }
});

for (const end of ["SIGINT", "SIGTERM"]) {
  process.once(end, async () => {
    leaving.abort(new Error("given up"));
    await client.close();
  });
}

for (const path of paths) {
  const onProgress = ({ state, done, size }) => console.log(`${path}: ${state}, ${done} of ${size} bytes`);
  try {
    const { ms } = await client.sendFile(to, path, { onProgress, signal });
    console.log(`${path} is on ${to}'s disk after ${Math.round(ms)} ms`);
  } catch (error) {
    console.error(`${path}: ${error.message}`);
  }
}
