// Random and mutated requests: no crash, no leak, other clients served. PTALK_TEST_VOLUME=250 for a long run.
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, expect, it } from "vitest";
import { COMMANDS } from "../../lib/wire/commands.ts";
import { encodeCommand } from "../../lib/wire/resp-command.ts";
import {
  type Client,
  freshStateDir,
  hostEndpoint,
  newKeys,
  registerCommand,
  ServerProcess,
} from "../helpers/lookup-server.ts";
import { times } from "../helpers/volume.ts";

const REQUESTS = times(10_000);
const SEED = Number(process.env.PTALK_FUZZ_SEED ?? Date.now() % 2 ** 31);
const PER_WRITE = 100;
const AT_ONCE = 8;

const state = freshStateDir();
let server: ServerProcess;
let witness: Client;
beforeAll(async () => {
  server = await ServerProcess.start(["--workers", "2", "--capacity", "64", "--state-dir", state.path]);
  witness = await server.client();
  await witness.register("witness", newKeys());
});
afterAll(async () => {
  await server.stop();
  state.remove();
});

/** Mulberry32: the same seed is the same run. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const random = randomFrom(SEED);
const below = (n: number) => Math.floor(random() * n);
const pick = <T>(from: readonly T[]) => from[below(from.length)] as T;
const keys = newKeys();
const statement = { serverNonce: "bm9uY2U=", clientNonce: "", serverKey: keys.key, binding: "local" };
const words = [
  ...Object.keys(COMMANDS),
  "CURSOR",
  "COUNT",
  "KEY",
  "PORT",
  "PROTOCOL",
  "ENDPOINT",
  "host",
  "relay",
  "observed",
  "NONCE",
  "SIG",
  "TAKEOVER",
  "REPLACE",
  "PROBE",
  "HOST",
  "0",
  "3",
  "-1",
  "99999999999",
  "",
  "witness",
  "Witness",
  "wítness",
  "\u0000",
  "\u202e",
  "x".repeat(33),
  "y".repeat(9000),
  keys.key,
  "127.0.0.1",
  "::1",
  "*",
  "$",
  "\r\n",
  "NaN",
  "'it\\'s'",
  '"\\xff\\n"',
  '"a b',
  "*-1\r\n",
];

/** A request, right, half right, or not at all. */
function request(): Buffer {
  switch (below(7)) {
    case 0:
      return encodeCommand(Array.from({ length: 1 + below(6) }, () => pick(words)));
    case 1: {
      const [port, endpoints] = [below(70_000), [hostEndpoint(pick(words), below(70_000))]];
      const command = registerCommand(statement, pick(words), keys, { port, endpoints, protocol: below(300) });
      return encodeCommand([...command, ...Array.from({ length: below(3) }, () => pick(words))]);
    }
    case 6:
      return mutated(encodeCommand(["HELLO", pick([2, 3]), "NONCE", keys.key]));
    case 2:
      return Buffer.from(`${pick(words)} ${pick(words)}\n`);
    case 3:
      return encodeCommand(["LOOKUP", pick(words)]);
    case 4:
      return mutated(encodeCommand([pick(words), pick(words), pick(words)]));
    default:
      return encodeCommand([pick(["HELLO", "PING", "COUNT", "ALL", "INFO", "WATCH"])]);
  }
}

function mutated(bytes: Buffer): Buffer {
  for (let i = 1 + below(3); i > 0; i--) {
    const at = below(bytes.length);
    if (below(2) === 0) bytes[at] = below(256);
    else return Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + below(4)))]);
  }
  return bytes;
}

/** One connection's worth: until the server closes it, or it was sent enough. */
function connection(): Promise<number> {
  return new Promise((resolve) => {
    let sent = 0;
    const socket: Socket = connect(server.port, "127.0.0.1");
    socket.on("error", () => {}).on("close", () => resolve(sent));
    const write = () => {
      if (socket.destroyed || sent >= 20 * PER_WRITE) {
        socket.destroy();
        return;
      }
      const requests = Array.from({ length: PER_WRITE }, request);
      sent += PER_WRITE;
      const bytes = Buffer.concat(requests);
      const cut = below(bytes.length);
      socket.write(bytes.subarray(0, cut));
      socket.write(bytes.subarray(cut), () => setImmediate(write));
    };
    socket.once("connect", write);
    if (below(4) !== 0) socket.resume(); // some do not read
  });
}

function memory(pids: readonly number[]): number {
  const resident = (pid: number) =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]) * 1024;
  return pids.reduce((sum, pid) => sum + resident(pid), 0);
}

it(`${REQUESTS} random and mutated requests (seed ${SEED})`, { timeout: 3_600_000 }, async () => {
  const pids = async () =>
    [...((await witness.ask("INFO")) as string).matchAll(/,pid=(\d+),/g)].map((match) => Number(match[1]));
  const workers = await pids();
  let sent = 0;
  let memoryAtTenth = 0;
  const lane = async () => {
    while (sent < REQUESTS) {
      sent += await connection();
      if (memoryAtTenth === 0 && sent > REQUESTS / 10) memoryAtTenth = memory(workers);
      expect(await witness.ask("PING")).toBe("PONG");
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  expect(await pids()).toEqual(workers);
  expect(await witness.ask("COUNT")).toBe(1);
  // Between a tenth of the run and its end memory may settle, not grow with the requests.
  expect(memory(workers)).toBeLessThan(memoryAtTenth + 150 * 1024 * 1024);
  const info = (await witness.ask("INFO")) as string;
  expect(info).toMatch(/connected_clients:[1-9]\b/);
  expect(server.log).not.toContain("request failed");
});
