// Files between two transports on real sockets: over a lossy path, and with peers that do not keep to the protocol.
import { randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Recipient } from "../../lib/client/contacts.ts";
import { FileTransfers } from "../../lib/client/file-transfers.ts";
import type { FileOffer, ReceivedFile, TalkClientEvents } from "../../lib/client/types.ts";
import { Identity } from "../../lib/crypto/identity.ts";
import { PeerTransport } from "../../lib/peer/transport.ts";
import type { PeerIdentity } from "../../lib/peer/types.ts";
import {
  encodeFileControl,
  encodeFileOffer,
  fileDataBytes,
  fileDataHeadBytes,
  writeFileDataHead,
} from "../../lib/wire/file-bodies.ts";

const NOBODY = { user: null, uid: null, attested: null, isUnattestedLogin: false } as const;

import { LossyProxy } from "../helpers/lossy-proxy.ts";

const HOST = "127.0.0.1";
let folder: string;
let cleanUp: (() => unknown)[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ptalk-transfer-"));
});
afterEach(async () => {
  for (const step of cleanUp.reverse()) await step();
  cleanUp = [];
  rmSync(folder, { recursive: true, force: true });
});

interface Side {
  readonly files: FileTransfers;
  readonly transport: PeerTransport;
  readonly identity: Identity;
  readonly client: EventEmitter<TalkClientEvents>;
}

/** @param to the receiver of all files */
async function side(name: string, to?: PeerIdentity): Promise<Side> {
  const identity = Identity.generate();
  const transport = await PeerTransport.open({ identity, address: HOST });
  const client = new EventEmitter<TalkClientEvents>();
  const recipient = { peer: to, isRemembered: true } as Recipient;
  const files = new FileTransfers({
    from: name,
    book: {
      atOnce: () => recipient,
      find: async () => recipient,
      remember: () => {},
      verifySender: () => ({ ...NOBODY, verified: true, fingerprint: "SHA256:x" }),
    },
    admission: { admits: () => true },
    transport,
    folder: join(folder, `${name}-parts`),
    client,
    connectedAt: () => 0,
    onListenerError: (reason) => {
      throw reason;
    },
  });
  transport.on("body", (body, settle) => files.receive(body, settle));
  cleanUp.push(
    () => transport.close({ timeoutMs: 0 }),
    () => files.close(),
  );
  return { files, transport, identity, client };
}

function accepting({ client }: Side): Promise<ReceivedFile> {
  return new Promise((resolve, reject) => {
    client.on("file", (offer: FileOffer) => offer.accept(folder).then(resolve, reject));
  });
}

const at = ({ identity }: Side, port: number): PeerIdentity => ({
  key: identity.publicKey,
  endpoints: [{ address: HOST, port }],
  name: "bob",
});

describe("a file", () => {
  it.each([
    ["10 % loss each way", { loss: 0.1, repeated: 0, delay: 0 }],
    ["30 % loss, repetition and disorder", { loss: 0.3, repeated: 0.1, delay: 5 }],
  ])("is whole after %s", async (_weather, weather) => {
    const bob = await side("bob");
    const proxy = await LossyProxy.to(bob.transport.port, weather, 7);
    cleanUp.push(() => proxy.close());
    const alice = await side("alice", at(bob, proxy.port));
    const path = join(folder, "sent");
    const content = randomBytes(700_001);
    writeFileSync(path, content);
    const began = performance.now();
    const received = accepting(bob);
    const sent = await alice.files.send("bob", path, {});
    const { path: placed, ms } = await received;
    expect(ms).toBeGreaterThan(0);
    expect(ms).toBeLessThanOrEqual(performance.now() - began + 1);
    expect(placed).toBe(join(folder, "sent (2)"));
    expect(readFileSync(placed).equals(content)).toBe(true);
    expect(sent).toMatchObject({ name: "sent", size: 700_001 });
  });

  it("that is given up at its sender ends at its receiver, and its part is kept", async () => {
    const bob = await side("bob");
    const alice = await side("alice", at(bob, bob.transport.port));
    const path = join(folder, "sent");
    writeFileSync(path, randomBytes(40 * 2 ** 20));
    const received = accepting(bob);
    received.catch(() => {});
    const stop = new AbortController();
    const onProgress = ({ state }: { state: string }): void => {
      if (state === "progress") stop.abort(new Error("enough"));
    };
    await expect(alice.files.send("bob", path, { signal: stop.signal, onProgress })).rejects.toThrow("enough");
    await expect(received).rejects.toMatchObject({ code: "not-delivered" });
    expect(readdirSync(join(folder, "bob-parts")).length).toBe(1);
    expect(readdirSync(folder)).not.toContain("sent (2)");
  });

  it("that its receiver gives up ends at its sender", async () => {
    const bob = await side("bob");
    const alice = await side("alice", at(bob, bob.transport.port));
    const path = join(folder, "sent");
    writeFileSync(path, randomBytes(40 * 2 ** 20));
    const stop = new AbortController();
    const onProgress = ({ state }: { state: string }): void => {
      if (state === "progress") stop.abort(new Error("no more"));
    };
    const received = new Promise((resolve, reject) => {
      bob.client.on("file", (offer) => offer.accept(folder, { signal: stop.signal, onProgress }).then(resolve, reject));
    });
    received.catch(() => {});
    await expect(alice.files.send("bob", path, {})).rejects.toMatchObject({ code: "not-delivered" });
    await expect(received).rejects.toThrow("no more");
  });
});

describe("a hostile sender", () => {
  const id = "0123456789";
  const steps = { timeoutMs: 5_000 };

  async function offered(size: number): Promise<{ bob: Side; mallory: PeerTransport; to: PeerIdentity }> {
    const bob = await side("bob");
    const { mallory, to, offer } = await offering(bob, size);
    await mallory.sendBody(to, offer, steps);
    return { bob, mallory, to };
  }

  function data(offset: number, length: number): Buffer {
    const body = Buffer.alloc(fileDataHeadBytes(id) + length);
    writeFileDataHead(body, id, offset);
    return body;
  }

  /** A sender of bodies of its own making, and its offer of so many bytes. `accepted`: bob has answered it. */
  async function offering(bob: Side, size = 10) {
    const mallory = await PeerTransport.open({ identity: Identity.generate(), address: HOST });
    cleanUp.push(() => mallory.close({ timeoutMs: 0 }));
    const accepted = new Promise<void>((resolve) => {
      mallory.on("body", (_body, settle) => {
        settle("accepted");
        resolve();
      });
    });
    const offer = encodeFileOffer({ id, from: "mallory", name: "x", size, sha256: Buffer.alloc(32) }) as Buffer;
    return { mallory, to: at(bob, bob.transport.port), offer, accepted };
  }

  it("finds no listener: the offer is declined at once", async () => {
    await expect(offered(1)).rejects.toMatchObject({ code: "declined" });
  });

  it("that sends before anybody has accepted, or another file than it offered, leaves nothing", async () => {
    const bob = await side("bob");
    const received = accepting(bob);
    received.catch(() => {});
    const { mallory, to, offer, accepted } = await offering(bob);
    await expect(mallory.sendBody(to, data(0, 10), steps)).rejects.toMatchObject({ code: "declined" });
    await mallory.sendBody(to, offer, steps);
    await accepted;
    await mallory.sendBody(to, data(0, 10), steps);
    await mallory.sendBody(to, encodeFileControl(id, "end", 10) as Buffer, steps);
    await expect(received).rejects.toMatchObject({ code: "bad-data" });
    expect(readdirSync(folder)).toEqual(["bob-parts"]);
    expect(readdirSync(join(folder, "bob-parts"))).toEqual([]);
  });

  it("that sends more than it offered is given up", async () => {
    const bob = await side("bob");
    const received = accepting(bob);
    received.catch(() => {});
    const { mallory, to, offer, accepted } = await offering(bob);
    await mallory.sendBody(to, offer, steps);
    await accepted;
    await expect(mallory.sendBody(to, data(0, fileDataBytes(id)), steps)).rejects.toMatchObject({ code: "declined" });
    await expect(received).rejects.toMatchObject({ code: "bad-data" });
  });

  it("has eight offers, and no more", async () => {
    const bob = await side("bob");
    const offers: FileOffer[] = [];
    bob.client.on("file", (offer) => void offers.push(offer));
    const mallory = await PeerTransport.open({ identity: Identity.generate(), address: HOST });
    cleanUp.push(() => mallory.close({ timeoutMs: 0 }));
    const to = at(bob, bob.transport.port);
    const offer = (one: number) =>
      encodeFileOffer({ id: `${one}`, from: "mallory", name: "../x", size: 1, sha256: Buffer.alloc(32) }) as Buffer;
    for (let i = 0; i < 8; i++) await mallory.sendBody(to, offer(i), steps);
    await expect(mallory.sendBody(to, offer(8), steps)).rejects.toMatchObject({ code: "declined" });
    expect(offers.map(({ name }) => name)).toEqual(Array.from({ length: 8 }, () => "x"));
  });
});
