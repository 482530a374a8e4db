// A message that must not get lost:
//
//     node left-message.js NAME TEXT            directly, or left at the server for as long as NAME is off
//     node left-message.js --wait 60 NAME TEXT  directly, or within 60 s when NAME comes
//     node left-message.js --receipts 10        is on for 10 s, and says what has become of messages that were left
import { setTimeout } from "node:timers/promises";
import { TalkClient } from "ptalk";

const args = process.argv.slice(2);
const server = process.env.PTALK_SERVER;
const client = await TalkClient.connect({
  name: process.env.PTALK_NAME ?? "left-message",
  // Receipts come only to a client that is on.
  register: args[0] === "--receipts" ? "always" : "never",
  ...(server ? { server } : { startServer: true }),
});

client.on("kept", ({ to, until, newKey }) => {
  console.log(`kept for ${to} until ${new Date(until).toISOString()}`);
  if (newKey !== null) console.log(`${to} is met for the first time: compare ${newKey}`);
});
client.on("receipt", ({ id, to, state, at }) => console.log(`${id}: ${state}, ${to}, ${new Date(at).toISOString()}`));

const giveUp = new AbortController();
process.once("SIGINT", () => giveUp.abort(new Error("given up")));

try {
  if (args[0] === "--receipts") await setTimeout(Number(args[1]) * 1000, undefined, { signal: giveUp.signal });
  else if (args[0] === "--wait") await send(args[2], args[3], { ifOff: "wait", waitMs: Number(args[1]) * 1000 });
  else await send(args[0], args[1], { ifOff: "leave" });
} catch (error) {
  // mailbox-full, no-key, not-understood (the server keeps no messages), not-delivered, unconfirmed…
  console.error(`${error.code}: ${error.message}`);
  process.exitCode = 1;
} finally {
  await client.close();
}

async function send(to, text, options) {
  const { id, state, via, ms } = await client.send(to, text, { ...options, signal: giveUp.signal });
  console.log(`${id} is ${state} by way of ${via}, after ${Math.round(ms)} ms`);
}
