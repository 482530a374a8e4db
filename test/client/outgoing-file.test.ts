// How much of a file is under way at once: little on a slow path, where texts would wait behind it, and as much as the path holds on a long
// one. The path is a pretence that takes its time.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { OutgoingFile } from "../../lib/client/outgoing-file.ts";
import type { PeerIdentity } from "../../lib/peer/types.ts";
import { decodeFileBody } from "../../lib/wire/file-bodies.ts";

const ID = "00000000-0000-4000-8000-000000000000";
const PEER: PeerIdentity = { key: new Uint8Array(32), name: "bob", endpoints: [] };
const CONFIRMED = { ms: 0, via: "direct" } as const;
const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

interface Path {
  readonly roundTripMs: number;
  readonly bytesPerMs: number;
}

/** Sends a file over the path. @returns for each body its length, and the bytes under way with it */
async function sent(size: number, { roundTripMs, bytesPerMs }: Path): Promise<{ length: number; underWay: number }[]> {
  const folder = mkdtempSync(join(tmpdir(), "ptalk-outgoing-"));
  folders.push(folder);
  const path = join(folder, "file");
  writeFileSync(path, Buffer.alloc(size));
  const bodies: { length: number; underWay: number }[] = [];
  let underWay = 0;
  let position = 0;
  let isFree: Promise<void> = Promise.resolve();
  const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  const transport = {
    leastRoundTripMs: () => roundTripMs,
    async sendBody(_peer: unknown, body: Buffer): Promise<typeof CONFIRMED> {
      if (decodeFileBody(body)?.type !== "data") return CONFIRMED;
      underWay += body.length;
      bodies.push({ length: body.length, underWay });
      const before = isFree;
      isFree = before.then(() => wait(body.length / bytesPerMs));
      await isFree;
      await wait(roundTripMs);
      underWay -= body.length;
      position += body.length;
      file.onControl({ type: "control", id: ID, step: "written", offset: Math.min(size, position), reason: "" });
      return CONFIRMED;
    },
  };
  const parts = { id: ID, from: "alice", to: "bob", path, transport, onProgress: undefined, signal: undefined };
  const file = await OutgoingFile.open(parts);
  await file.offer(PEER, 1000);
  file.onControl({ type: "control", id: ID, step: "accept", offset: 0, reason: "" });
  while (position < size) await wait(10);
  await file.close(new Error("enough"));
  return bodies;
}

it("on a slow path little is under way, in small pieces", async () => {
  const bodies = await sent(200_000, { roundTripMs: 5, bytesPerMs: 125 }); // a megabit a second
  const later = bodies.slice(8); // before that it finds out
  expect(later.length).toBeGreaterThan(8);
  // A tenth of a second of the path, and a body of it, with room for a timer that is late.
  for (const { length, underWay } of later) expect([length <= 8_192, underWay <= 32_768]).toEqual([true, true]);
});

it("on a long path as much as it holds is under way, in whole bodies", async () => {
  const bodies = await sent(8_000_000, { roundTripMs: 100, bytesPerMs: 1_000_000 });
  expect(Math.max(...bodies.map(({ length }) => length))).toBeGreaterThan(60_000);
  expect(Math.max(...bodies.map(({ underWay }) => underWay))).toBeGreaterThan(400_000);
});
