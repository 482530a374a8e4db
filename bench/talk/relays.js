// The relays that people use instead: each started here, on a port of its own. `exchange` is one line to the other
// client and its answer back, through the relay both times: what a confirmed message costs there.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const TEXT = "x".repeat(63);

export const RELAYS = {
  redis: {
    program: "redis-server",
    start: (port) => ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
    // A connection that subscribes can do nothing else in RESP2: two for each client.
    async join(port, own, onText) {
      const [listening, speaking] = [await open(port), await open(port)];
      listening.on("data", (data) => {
        if (data.includes(TEXT)) onText();
      });
      speaking.resume();
      listening.write(`SUBSCRIBE ${own}\r\n`);
      await once(listening, "data");
      return (to) => speaking.write(`PUBLISH ${to} ${TEXT}\r\n`);
    },
  },
  nats: {
    program: "nats-server",
    start: (port) => ["-a", "127.0.0.1", "-p", `${port}`],
    async join(port, own, onText) {
      const socket = await open(port);
      socket.on("data", (data) => {
        if (data.includes(TEXT)) onText();
        if (data.includes("PING\r\n")) socket.write("PONG\r\n");
      });
      socket.write(`CONNECT {"verbose":false}\r\nSUB ${own} 1\r\nPING\r\n`);
      await until(socket, "PONG");
      return (to) => socket.write(`PUB ${to} ${TEXT.length}\r\n${TEXT}\r\n`);
    },
  },
  ngircd: {
    program: "ngircd",
    start(port, folder) {
      const file = join(folder, "ngircd.conf");
      const global = `[Global]\nName = bench.local\nInfo = bench\nListen = 127.0.0.1\nPorts = ${port}\nServerUID = nobody\nServerGID = nogroup\n`;
      const options = "[Options]\nIdent = no\nPAM = no\nDNS = no\n[Limits]\nMaxPenaltyTime = 0\nMaxConnectionsIP = 0\n";
      writeFileSync(file, global + options);
      chmodSync(folder, 0o755);
      return ["-n", "-f", file];
    },
    async join(port, own, onText) {
      const socket = await open(port);
      socket.on("data", (data) => {
        if (data.includes(TEXT)) onText();
        if (data.includes("PING ")) socket.write("PONG :bench.local\r\n");
      });
      socket.write(`NICK ${own}\r\nUSER ${own} 0 * :${own}\r\n`);
      await until(socket, " 001 ");
      return (to) => socket.write(`PRIVMSG ${to} :${TEXT}\r\n`);
    },
  },
};

/** Null when the relay is not installed; else {port, stop}. */
export async function startRelay(name) {
  const { program, start } = RELAYS[name];
  if (spawnSync("sh", ["-c", `command -v ${program}`]).status !== 0) return null;
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "ptalk-bench-"));
  const child = spawn(program, start(port, folder), { stdio: "ignore", cwd: folder });
  for (let attempt = 0; attempt < 100; attempt++) {
    const socket = await open(port).catch(() => null);
    if (socket) {
      socket.destroy();
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    port,
    async stop() {
      const gone = once(child, "exit");
      child.kill();
      await gone;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function open(port) {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  return socket;
}

async function until(socket, word) {
  let text = "";
  while (!text.includes(word)) text += String((await once(socket, "data"))[0]);
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}
