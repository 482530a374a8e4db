// Real processes that are killed, and real sockets through bad weather.
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { Identity } from "../../lib/crypto/identity.ts";
import { PeerTransport } from "../../lib/peer/transport.ts";
import type { PeerIdentity } from "../../lib/peer/types.ts";
import { LossyProxy } from "../helpers/lossy-proxy.ts";
import { Program } from "../helpers/program.ts";

const fixture = join(import.meta.dirname, "../fixtures/peer/receiver.js");
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Receiver {
  readonly program: Program;
  readonly port: number;
  next(): Promise<{ id: string; bytes: number }>;
}

async function startReceiver(seed: Buffer, mode: "accept" | "hold", port = 0): Promise<Receiver> {
  const program = new Program(process.execPath, [fixture, seed.toString("hex"), `${port}`, mode]);
  cleanups.push(() => program.kill());
  const next = async () => JSON.parse(await program.line());
  return { program, port: (await next()).port, next };
}

async function lineOrNull(receiver: Receiver): Promise<{ id: string } | null> {
  return receiver.next().catch(() => null);
}

async function sender(): Promise<PeerTransport> {
  const transport = await PeerTransport.open({ identity: Identity.generate(), address: "127.0.0.1" });
  cleanups.push(() => transport.close({ timeoutMs: 0 }));
  return transport;
}

function at(port: number, seed: Buffer): PeerIdentity {
  return { key: new Identity(seed).publicKey, name: "receiver", endpoints: [{ address: "127.0.0.1", port }] };
}

const message = (id: number, bytes = 20) => ({ from: "x", text: "x".repeat(bytes), id: `${id}` });

describe("a receiver in another process", () => {
  it("that is killed with the text in its hands: unconfirmed", async () => {
    const seed = randomBytes(32);
    const receiver = await startReceiver(seed, "hold");
    const sent = (await sender()).send(at(receiver.port, seed), message(1), { timeoutMs: 1500 });
    expect(await receiver.next()).toEqual({ id: "1", bytes: 20 });
    await receiver.program.kill();
    await expect(sent).rejects.toMatchObject({ code: "unconfirmed" });
  });

  it("that is killed and started again on its port gets all messages, in order, none twice in one life", async () => {
    const seed = randomBytes(32);
    const transport = await sender();
    const lives: number[][] = [];
    let port = 0;
    let outcome: Promise<unknown> = Promise.resolve();
    for (let life = 0; life < 3; life++) {
      const receiver = await startReceiver(seed, "accept", port);
      port = receiver.port;
      const peer = at(port, seed);
      if (life === 0) {
        const options = { timeoutMs: 60_000 };
        outcome = Promise.all(
          Array.from({ length: 1500 }, (_, i) => transport.send(peer, message(i, i % 3000), options)),
        );
      }
      const got: number[] = [];
      lives.push(got);
      // Killed in the middle of what is under way, but for the last one.
      while (life === 2 ? got.at(-1) !== 1499 : got.length < 400) got.push(Number((await receiver.next()).id));
      if (life === 2) continue;
      await receiver.program.kill();
      await receiver.program.ended; // what it had printed by then, it had printed
      for (let line = await lineOrNull(receiver); line; line = await lineOrNull(receiver)) got.push(Number(line.id));
    }
    await outcome;
    for (const got of lives)
      expect(got).toEqual([...got].sort((x, y) => x - y).filter((id, i, all) => id !== all[i - 1]));
    expect(new Set(lives.flat()).size).toBe(1500);
  });
});

describe("through a bad network", () => {
  it("every message comes once and in order, 64 KiB ones too, and weather that clears is noticed", async () => {
    const seed = randomBytes(32);
    const receiver = await startReceiver(seed, "accept");
    const proxy = await LossyProxy.to(receiver.port, { loss: 0.3, repeated: 0.1, delay: 20 }, 42);
    cleanups.push(() => proxy.close());
    const transport = await sender();
    const peer = at(proxy.port, seed);
    const sizes = Array.from({ length: 150 }, (_, i) => (i % 50 === 0 ? 65_536 : (i * 37) % 2500));
    const sent = Promise.all(sizes.map((bytes, i) => transport.send(peer, message(i, bytes), { timeoutMs: 60_000 })));
    for (const [i, bytes] of sizes.entries()) expect(await receiver.next()).toEqual({ id: `${i}`, bytes });
    await sent;
    // Nobody is reachable for a while, and then again.
    proxy.weather = { loss: 1, repeated: 0, delay: 0 };
    const later = transport.send(peer, message(1000), { timeoutMs: 60_000 });
    await new Promise((resolve) => setTimeout(resolve, 1000));
    proxy.weather = { loss: 0, repeated: 0, delay: 0 };
    await later;
    expect(await receiver.next()).toMatchObject({ id: "1000" });
    expect(transport.stats().dropped["forged"]).toBeUndefined();
  });
});
