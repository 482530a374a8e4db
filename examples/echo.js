// A program that is on as "echo" and sends everybody's words back: node examples/echo.js [HOST:PORT]
// In a project of your own, import from "ptalk".
import { TalkClient } from "../dist/index.js";

const client = await TalkClient.connect({ name: "echo", server: process.argv[2] ?? "127.0.0.1:5518" });
console.log(`on as ${client.name}, ${client.fingerprint}`);

// The sender learns "delivered" when this listener is done; `verified` says that server and remembered key agree.
client.on("message", async ({ from, text, verified }) => {
  console.log(`${from}${verified ? "" : " (not verified)"}: ${text}`);
  // Not awaited: the answer must not hold up the confirmation of the question.
  client.send(from, `you said: ${text}`, { timeoutMs: 5_000 }).then(
    ({ ms }) => console.log(`${from} has the answer after ${ms} ms`),
    ({ code, message }) => console.log(`${code}: ${message}`),
  );
});
client.on("server", ({ state }) => console.log(`server ${state}`));

process.once("SIGTERM", async () => {
  await client.close(); // unregisters, lets what is under way arrive, frees everything
});
