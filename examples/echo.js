// Sends everybody's words back: node echo.js [HOST:PORT]; without an address, with a server that starts by itself.
import { TalkClient, TalkError } from "ptalk";

const [server] = process.argv.slice(2);

try {
  const client = await TalkClient.connect({ name: "echo", ...(server ? { server } : { startServer: true }) });
  console.log(`on as ${client.name}, ${client.fingerprint}`);

  // The sender learns "delivered" when this listener is done; `verified` says that server and remembered key agree.
  client.on("message", ({ from, text, verified, auto }) => {
    console.log(`${from}${verified ? "" : " (not verified)"}: ${text}`);
    if (auto) return; // a program wrote it: two that answer each other never end
    // Not awaited: the answer must not hold up the confirmation of the question.
    client.send(from, `you said: ${text}`, { timeoutMs: 5_000, auto: true }).then(
      ({ ms }) => console.log(`${from} has the answer after ${ms} ms`),
      ({ code, message }) => console.log(`${code}: ${message}`),
    );
  });
  client.on("server", ({ state }) => console.log(`server ${state}`)); // lost: the client comes back by itself
  client.on("refused", (error) => console.log(error.message)); // a changed key: it was no message
  client.on("error", (error) => fail(error)); // the name was taken over, for example

  // close() unregisters, waits for messages under way, and frees everything.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(signal, () => client.close());
} catch (error) {
  fail(error);
}

function fail(error) {
  if (!(error instanceof TalkError)) throw error;
  console.error(`echo: ${error.message}`); // "name-taken", "unreachable", "refused": error.code
  process.exit(1);
}
