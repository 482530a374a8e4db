// STUN: the bytes, checked against the RFC's own and a foreign client, and what a server does with a token.
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Endpoint } from "../../lib/base/endpoint.ts";
import { DatagramSocket } from "../../lib/net/datagram-socket.ts";
import {
  announcesLate,
  answersElsewhere,
  decodeBindingRequest,
  decodeBindingResponse,
  encodeBindingRequest,
  encodeBindingResponse,
  isStun,
  TRANSACTION_BYTES,
} from "../../lib/net/stun.ts";
import { Knocks } from "../../lib/peer/knocks.ts";
import { silentLog } from "../../lib/server/log.ts";
import { observationToken, placeOfToken } from "../../lib/server/observation-token.ts";
import { StunServer } from "../../lib/server/stun-server.ts";
import { encodeInit } from "../../lib/wire/datagram.ts";
import { ServerProcess, until } from "../helpers/lookup-server.ts";

describe("a Binding request", () => {
  const transaction = Buffer.from("b7e7a701bc34d686fa87dfae", "hex");

  it("is the RFC's 20 bytes, or holds our token, and nothing that has to be understood", () => {
    const bare = encodeBindingRequest(transaction);
    expect(bare.toString("hex")).toBe("000100002112a442b7e7a701bc34d686fa87dfae");
    expect(decodeBindingRequest(bare)).toEqual({ transaction, token: null, lateMs: null, elsewhere: false });
    const token = randomBytes(28);
    expect(decodeBindingRequest(encodeBindingRequest(transaction, token))).toEqual({
      transaction,
      token,
      lateMs: null,
      elsewhere: false,
    });
    const late = decodeBindingRequest(encodeBindingRequest(transaction, token, { lateMs: 28_000 }));
    expect(late).toEqual({ transaction, token, lateMs: 28_000, elsewhere: false });
    // CHANGE-REQUEST (RFC 5780) asks for an answer from elsewhere: a reflector.
    const change = Buffer.concat([bare, Buffer.from("0003000400000006", "hex")]);
    change.writeUInt16BE(8, 2);
    expect(decodeBindingRequest(change)).toBeNull();
    for (let length = 0; length < bare.length; length++)
      expect(decodeBindingRequest(bare.subarray(0, length))).toBeNull();
    expect(isStun(encodeInit(0x2112a442, randomBytes(140)))).toBe(false);
  });

  it("of random bytes is none, and never throws", () => {
    for (let i = 0; i < 2_000; i++) {
      const bytes = randomBytes(20 + (i % 60));
      bytes.set(Buffer.from("0001", "hex"));
      bytes.writeUInt32BE(0x2112a442, 4);
      bytes.writeUInt16BE(bytes.length - 20, 2);
      decodeBindingRequest(bytes);
      bytes[0] = bytes[1] = 1;
      decodeBindingResponse(bytes, bytes.subarray(8, 20));
    }
  });
});

describe("a Binding response", () => {
  // RFC 5769, sections 2.2 and 2.3: XOR-MAPPED-ADDRESS of 192.0.2.1:32853, and of 2001:db8:1234:5678:11:2233:4455:6677.
  const transaction = Buffer.from("b7e7a701bc34d686fa87dfae", "hex");
  const cases = [
    ["192.0.2.1", "002000080001a147e112a643"],
    ["2001:db8:1234:5678:11:2233:4455:6677", "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"],
  ] as const;
  it.each(cases)("has %s as the RFC's test vectors have it", (address, attribute) => {
    const seen = { address, port: 32_853 };
    const response = encodeBindingResponse(transaction, seen);
    expect(response.subarray(20).toString("hex")).toBe(attribute);
    expect(decodeBindingResponse(response, transaction)).toEqual(seen);
    expect(decodeBindingResponse(response, randomBytes(TRANSACTION_BYTES))).toBeNull();
  });
});

describe("a token", () => {
  it("says whose connection it is of, and nobody else can make one", () => {
    const [secret, place] = [randomBytes(32), { worker: 7, connection: 2 ** 40 }];
    const token = observationToken(secret, place);
    expect(placeOfToken(secret, token)).toEqual(place);
    expect(placeOfToken(randomBytes(32), token)).toBeNull();
    for (let i = 0; i < token.length; i++) {
      const other = Buffer.from(token);
      other[i] = (other[i] as number) ^ 1;
      expect(placeOfToken(secret, other)).toBeNull();
    }
    expect(placeOfToken(secret, token.subarray(1))).toBeNull();
  });
});

describe("a knock", () => {
  it("goes to one endpoint once in 35 s, to none of this host, and to few in all", () => {
    const knocks = new Knocks();
    const at = (i: number) => ({ address: `192.0.2.${i}`, port: 4000 });
    expect(
      knocks.admit([at(1), at(2), { address: "127.0.0.1", port: 4000 }, { address: "224.0.0.1", port: 1 }], 0),
    ).toEqual([at(1), at(2)]);
    expect(knocks.admit([at(1), at(3)], 1_000)).toEqual([at(3)]);
    expect(knocks.admit([at(1)], 36_001)).toEqual([at(1)]);
    let admitted = 0;
    for (let i = 0; i < 1_000; i++) admitted += knocks.admit([{ address: "198.51.100.1", port: 1 + i }], 36_002).length;
    expect(admitted).toBeLessThanOrEqual(20); // twice ten
  });

  it("goes to sixteen endpoints of one address in that time, whoever calls", () => {
    const knocks = new Knocks();
    const ports = (address: string, from: number) => [0, 1, 2, 3].map((i) => ({ address, port: from + i }));
    let admitted = 0;
    for (let second = 0; second < 20; second++) {
      admitted += knocks.admit(ports("198.51.100.1", 1 + 4 * second), 1_000 * second).length;
    }
    expect(admitted).toBe(16);
    expect(knocks.admit(ports("198.51.100.2", 1), 20_000)).toHaveLength(4);
    expect(knocks.admit(ports("198.51.100.1", 100), 36_500)).toHaveLength(4);
  });
});

describe("a second answer", () => {
  it("comes after the silence that a client of the server asks for, and to nobody else", async () => {
    const answers: { readonly isOwn: boolean; readonly isFirst: boolean }[] = [];
    const [own, foreign] = [randomBytes(TRANSACTION_BYTES), randomBytes(TRANSACTION_BYTES)];
    const ignored = { onRead: () => {}, onError: () => {} };
    const socket = new DatagramSocket("127.0.0.1", 0, 65_536, {
      ...ignored,
      onDatagram: (datagram) => {
        const isOwn = decodeBindingResponse(datagram, own) !== null;
        answers.push({ isOwn, isFirst: announcesLate(datagram) });
      },
    });
    const free = new DatagramSocket("127.0.0.1", 0, 65_536, { ...ignored, onDatagram: () => {} });
    free.close();
    const token = randomBytes(28);
    const place = { worker: 1, connection: 2 };
    const server = new StunServer({
      ...{ host: "127.0.0.1", port: free.port, log: silentLog },
      placeOf: (one) => (one.equals(token) ? place : null),
      onSeen: () => {},
    });
    try {
      socket.send(
        encodeBindingRequest(foreign, randomBytes(28), { lateMs: 1, elsewhere: true }),
        "127.0.0.1",
        free.port,
      );
      await until("the only answer", () => answers.length === 1);
      socket.send(encodeBindingRequest(own, token, { lateMs: 50 }), "127.0.0.1", free.port);
      await until("both answers", () => answers.length === 3);
      expect(answers).toEqual([
        { isOwn: false, isFirst: false },
        { isOwn: true, isFirst: true },
        { isOwn: true, isFirst: false },
      ]);
    } finally {
      server.close();
      socket.close();
    }
  });
});

describe("an answer from elsewhere", () => {
  it("comes from another port to a client of the server that asks for it, and all answers are at most three times as long as it", async () => {
    const answers: { readonly isUsual: boolean; readonly others: number | null }[] = [];
    const [own, foreign] = [randomBytes(TRANSACTION_BYTES), randomBytes(TRANSACTION_BYTES)];
    const ignored = { onRead: () => {}, onError: () => {} };
    const free = new DatagramSocket("127.0.0.1", 0, 65_536, { ...ignored, onDatagram: () => {} });
    free.close();
    const socket = new DatagramSocket("127.0.0.1", 0, 65_536, {
      ...ignored,
      onDatagram: (datagram, _, port) => {
        answers.push({ isUsual: port === free.port, others: answersElsewhere(datagram) });
      },
    });
    const token = randomBytes(28);
    const seen: Endpoint[] = [];
    const server = new StunServer({
      ...{ host: "127.0.0.1", port: free.port, log: silentLog },
      placeOf: (one) => (one.equals(token) ? { worker: 1, connection: 2 } : null),
      onSeen: (_, at) => void seen.push(at),
    });
    try {
      socket.send(encodeBindingRequest(foreign, randomBytes(28), { elsewhere: true }), "127.0.0.1", free.port);
      await until("the only answer", () => answers.length === 1);
      const request = encodeBindingRequest(own, token, { elsewhere: true });
      socket.send(request, "127.0.0.1", free.port);
      await until("both answers", () => answers.length === 3);
      expect(answers[0]).toEqual({ isUsual: true, others: null });
      expect(answers.slice(1)).toEqual(
        expect.arrayContaining([
          { isUsual: true, others: 1 },
          { isUsual: false, others: null },
        ]),
      );
      const at = { address: "fe80::1", port: 1 };
      const usual = encodeBindingResponse(own, at, { lateMs: 1, others: 2 }).length;
      const all = usual + 3 * encodeBindingResponse(own, at).length; // from two other places, and a late one
      const question = encodeBindingRequest(own, token, { elsewhere: true, lateMs: 1 }).length;
      expect(all).toBeLessThanOrEqual(3 * question);
      expect(seen).toEqual([]);
    } finally {
      server.close();
      socket.close();
    }
  });
});

describe("a server", () => {
  let server: ServerProcess;
  beforeAll(async () => {
    server = await ServerProcess.start(["--workers", "2"]);
  });
  afterAll(() => server.stop());

  it("answers at the UDP port of its TCP port's number, from there", async () => {
    const transaction = randomBytes(TRANSACTION_BYTES);
    let answer: { from: string; bytes: Buffer } | undefined;
    const socket = new DatagramSocket("127.0.0.1", 0, 65_536, {
      onDatagram: (datagram, address, port) => {
        answer = { from: `${address}:${port}`, bytes: Buffer.from(datagram) };
      },
      onRead: () => {},
      onError: () => {},
    });
    try {
      await until("an answer", () => {
        socket.send(encodeBindingRequest(transaction), "127.0.0.1", server.port);
        return answer !== undefined;
      });
      expect(answer?.from).toBe(`127.0.0.1:${server.port}`);
      expect(decodeBindingResponse(answer?.bytes ?? Buffer.alloc(0), transaction)).toEqual({
        address: "127.0.0.1",
        port: socket.port,
      });
      expect(answer?.bytes.length).toBe(32);
    } finally {
      socket.close();
    }
  });

  const tool = spawnSync("turnutils_stunclient", ["-h"]).error ? "coturn's turnutils_stunclient is missing" : null;
  it.skipIf(tool)(`is understood by coturn's client${tool ? ` (skipped: ${tool})` : ""}`, () => {
    const { stdout, stderr } = spawnSync("turnutils_stunclient", ["-p", String(server.port), "127.0.0.1"], {
      encoding: "utf8",
    });
    expect(stdout + stderr).toMatch(/UDP reflexive addr: 127\.0\.0\.1:\d+/);
  });
});
