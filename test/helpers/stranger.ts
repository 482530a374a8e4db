// Somebody who holds to the handshake and to nothing else: INITs to throw at a program, and sessions whose keys the test has.

import { randomBytes } from "node:crypto";
import type { Endpoint } from "../../lib/base/endpoint.ts";
import { Identity } from "../../lib/crypto/identity.ts";
import { staticKeys } from "../../lib/crypto/noise.ts";
import { seal } from "../../lib/crypto/seal.ts";
import { HandshakeInitiation } from "../../lib/peer/handshake-initiation.ts";
import { senderIndex, writeDataHead } from "../../lib/wire/datagram.ts";
import { FrameWriter } from "../../lib/wire/datagram-frames.ts";
import type { PeerWorld, Program } from "./peer-world.ts";

export const PING = Buffer.from([5]);
const STRANGER: Endpoint = { address: "192.0.2.77", port: 7 };

export function initTo(target: Program, identity = Identity.generate()): HandshakeInitiation {
  const keys = staticKeys(identity);
  const remote = staticKeys(target.identity).publicKey;
  const index = randomBytes(4).readUInt32BE();
  return new HandshakeInitiation({
    index,
    keys,
    remote,
    streamId: randomBytes(8),
    publicKey: identity.publicKey,
    now: 0,
  });
}

export interface RawSession {
  /** Seals whatever the test likes, and has it arrive. */
  send(payload: Buffer, counter?: number, from?: Endpoint): void;
}

/** A session with `target` of a program of its own, whose answers nobody reads. */
export function rawSession(world: PeerWorld, target: Program, identity?: Identity): RawSession {
  const dial = initTo(target, identity);
  let response: Buffer | undefined;
  const { transmit } = world;
  world.transmit = (datagram) => {
    response = datagram;
  };
  target.engine.receive(dial.datagram, STRANGER.address, STRANGER.port, world.now);
  world.transmit = transmit;
  const finished = response && dial.finish(response);
  if (!response || !finished) throw new Error("no answer to the handshake");
  const index = senderIndex(response);
  let next = 0;
  return {
    send: (payload, counter = next++, from = STRANGER) => {
      const datagram = Buffer.alloc(16 + payload.length + 16);
      writeDataHead(datagram, index, counter);
      seal(finished.keys.send, counter, payload, datagram.subarray(16));
      target.engine.receive(datagram, from.address, from.port, world.now);
      target.engine.flush(world.now);
    },
  };
}

/** A payload with one fragment of a message. */
export function fragment(number: number, body: Buffer, index = 0): Buffer {
  const writer = new FrameWriter(Buffer.alloc(1200));
  writer.fragment(number, body, index);
  return Buffer.from(writer.buffer.subarray(0, writer.length));
}
