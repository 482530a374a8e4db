// What the documents promise in numbers, held against what the code keeps to: a number that is changed in one of the two places
// alone fails here. Each promise is a sentence of a document, with the number taken out of it.
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { User } from "../helpers/cli.ts";
import { Serving } from "../helpers/serving.ts";
import { promised } from "./promised.ts";

const root = join(import.meta.dirname, "../..");
const { names, crypto, datagram, message, peer, stream, resp, commands, server, table, nameLog, lock } = promised;

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  second: 1000,
  seconds: 1000,
  minute: 60_000,
  minutes: 60_000,
  min: 60_000,
  bytes: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
};
const WORDS: Readonly<Record<string, number>> = {
  ...{
    a: 1,
    one: 1,
    once: 1,
    every: 1,
    two: 2,
    twice: 2,
    three: 3,
    four: 4,
    five: 5,
    six: 6,
    seven: 7,
    eight: 8,
    nine: 9,
  },
  ...{ ten: 10, twelve: 12 },
};

/** "65,536", "2^24", "9/8", "four", "16 KiB", "200 ms", "minute": in bytes or milliseconds where there is a unit. */
function numberOf(text: string): number {
  const [, figure = "", unit] = /^(\S+?)(?: (\S+))?$/.exec(text) ?? [];
  if (unit === undefined && UNITS[figure] !== undefined) return UNITS[figure];
  const factor = unit === undefined ? 1 : UNITS[unit];
  const [, base, exponent] = /^(\d+)\^(\d+)$/.exec(figure) ?? [];
  const [, above, below] = /^(\d+)\/(\d+)$/.exec(figure) ?? [];
  const value = base ? Number(base) ** Number(exponent) : above ? Number(above) / Number(below) : plain(figure);
  if (factor === undefined || Number.isNaN(value)) throw new Error(`"${text}" is no number that this test can read`);
  return value * factor;
}
const plain = (figure: string): number => WORDS[figure.toLowerCase()] ?? Number(figure.replaceAll(",", ""));

/** The document as one line of words. */
const textOf = (document: string): string =>
  readFileSync(join(root, document), "utf8").replace(/[*_`]/g, "").replace(/\s+/g, " ");

/** In a promise, each # stands for a number. */
const NUMBER = String.raw`((?:\d[\d,]*(?:\.\d+)?(?:\^\d+|/\d+)?|\w+)(?: (?:ms|s|seconds?|minutes?|min|bytes|KiB|MiB))?)`;
function sentence(promise: string): RegExp {
  const escaped = promise.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(escaped.replaceAll("#", NUMBER), "g");
}

type Promised = readonly [promise: string, ...values: number[]];

const PEER_PROTOCOL: readonly Promised[] = [
  ["A message is cut into fragments of # bytes", datagram.FRAGMENT_BYTES],
  ["# bytes each, the last one the rest", datagram.FRAGMENT_BYTES],
  ["No datagram is longer than # bytes of UDP payload", datagram.MAX_DATAGRAM_BYTES],
  [
    "Noise message # + n, mac #, cookie # | # + n |",
    datagram.INIT_NOISE_BYTES,
    datagram.MAC_BYTES,
    datagram.COOKIE_BYTES,
    datagram.INIT_BYTES,
  ],
  ["receiver index 4, Noise message # + n | # + n |", datagram.RESPONSE_NOISE_BYTES, datagram.RESPONSE_BYTES],
  ["receiver index 4, cookie # | # |", datagram.COOKIE_BYTES, datagram.COOKIE_REPLY_BYTES],
  ["sealed payload | # to # |", datagram.DATA_HEAD_BYTES + datagram.TAG_BYTES, datagram.MAX_DATAGRAM_BYTES],
  [
    "repeated unchanged after #, then # times as long each time, at least every #.",
    peer.HANDSHAKE_TIMEOUT,
    peer.HANDSHAKE_BACKOFF,
    peer.MAX_HANDSHAKE_TIMEOUT,
  ],
  ["nothing is sent through, and that is forgotten after #.", peer.HALF_OPEN_LIFE],
  ["There are at most # of them, the oldest makes room", peer.DEFAULT_LIMITS.halfOpen],
  [
    "may begin # handshakes a second, and all together #.",
    peer.DEFAULT_LIMITS.handshakesPerAddress,
    peer.DEFAULT_LIMITS.handshakesWithoutCookie,
  ],
  ["under a secret that changes every # (at most # a second", crypto.COOKIE_PERIOD, peer.CHEAP_REPLIES],
  ["With cookies one address may begin another #", peer.DEFAULT_LIMITS.handshakesPerAddress],
  ["one port), and all together #.", peer.DEFAULT_LIMITS.handshakesWithCookie],
  [
    "gets a successor after # of use or # datagrams, and is not used after # or #.",
    peer.REKEY_AFTER,
    peer.REKEY_DATAGRAMS,
    peer.REJECT_AFTER,
    peer.REJECT_DATAGRAMS,
  ],
  ["n is the length of an extension (below), at most #.", datagram.MAX_EXTENSION_BYTES],
  ["A session that was silent for # is forgotten", peer.IDLE_SESSION],
  ["The receiver keeps a window of # counters", crypto.REPLAY_WINDOW],
  ["are at most # times as long as what came from there", peer.UNPROVEN_FACTOR],
  ["Text has at most # bytes, id and name # each", message.MAX_TEXT_BYTES, message.MAX_ID_BYTES],
  ["id and name # each", message.MAX_FROM_BYTES],
  ["within a stream, which ends after # of them", peer.DEFAULT_LIMITS.streamMessages + 1],
  [
    "those with a session (#), and # that have none any more",
    peer.DEFAULT_LIMITS.sessions,
    peer.MAX_REMEMBERED_STREAMS,
  ],
  [
    "a datagram is lost when one sent # later has arrived, or # round trips later",
    stream.PACKET_THRESHOLD,
    stream.TIME_THRESHOLD,
  ],
  [
    "The floor of the timeout is # instead of a second, and doubling stops at # times for the first # probes, then goes on to #:",
    stream.MIN_TIMEOUT,
    2 ** stream.FAST_BACKOFF_LIMIT,
    stream.FAST_PROBES,
    stream.MAX_TIMEOUT,
  ],
  [
    "# datagrams at first, # at most, # at least",
    stream.INITIAL_WINDOW_PACKETS,
    stream.MAX_WINDOW_PACKETS,
    stream.MIN_WINDOW_PACKETS,
  ],
  ["at most # messages and # bytes may be unsettled", stream.MESSAGE_WINDOW, stream.BYTE_WINDOW],
  ["then the first timeout is #.", stream.INITIAL_TIMEOUT],
  ["# unanswered probes and a silence of # start a new handshake", peer.SILENT_PROBES, peer.SILENCE],
  ["a silence of twice what the handshake took, at most #.", peer.MAX_SILENCE],
  ["at most # bytes each. When that is full", stream.BYTE_WINDOW],
  ["with the # sessions that there can be", peer.DEFAULT_LIMITS.sessions],
];

const limits = server.defaultLimits(1_000_000);
const least = server.defaultLimits(1);
const PROTOCOL: readonly Promised[] = [
  ["over TCP (port # unless told otherwise)", promised.DEFAULT_PORT],
  ["the server removes it within # if there is no answer", server.KEEPALIVE_MS + server.UNACKNOWLEDGED_MS],
  ["breaks the rules: 1 to # bytes", names.MAX_NAME_BYTES],
  ["At most #; an address is literal", table.MAX_ENDPOINTS],
  ["one to #, each address port kind", table.MAX_ENDPOINTS],
  ["HOST has at most # bytes", table.MAX_HOST_BYTES],
  ["A key owns at most # names", names.NAMES_PER_KEY],
  [
    "A server remembers # names for each client that it has room for, at least # and at most #.",
    server.defaultLimits(100_000).names / 100_000,
    least.names,
    limits.names,
  ],
  ["not registered or claimed for # days gives way", names.UNUSED_DAYS],
  ["its clients stay in the directory for #:", server.ORPHAN_GRACE_MS],
  [
    "After # without a byte from it, the server pushes probe (RESP3), and the client has # to send",
    server.PROBE_AFTER_MS,
    server.PROBE_ANSWER_MS,
  ],
  ["all listed clients (up to # clients; above that", server.MAX_UNPAGED],
  ["how many at most (default #, at most #)", commands.DEFAULT_PAGE, commands.MAX_PAGE],
  ["one request, framing included | # |", resp.MAX_REQUEST_BYTES],
  ["one argument | # |", resp.MAX_ARGUMENT_BYTES],
  ["arguments of one request | # |", resp.MAX_ARGUMENTS],
  ["names and rooms that one connection watches | # |", server.MAX_INTERESTS],
  ["n (default and most: #)", commands.MAX_NAMES],
  ["an inline request | # |", resp.MAX_INLINE_BYTES],
  ["requests of one connection in a second | # |", limits.requestsPerSecond],
  ["pushes of one connection | #, or # without progress |", limits.unsentBytes, server.STUCK_MS],
  [
    "an ALL without CURSOR | # to be read; # that wait in one worker process |",
    limits.longReplyMs,
    limits.longReplyBytes,
  ],
  [
    "open connections | # the capacity and # more; # from one address (not loopback) |",
    (limits.connections - least.connections) / 999_999,
    least.connections - 2,
    limits.connectionsPerAddress,
  ],
  ["while more than # wait for it: pipelining", server.CLOGGED_BYTES],
];

const most = (option: "workers" | "capacity", known: number): number => {
  expect(server.options({ [option]: known })[option]).toBe(known);
  expect(() => server.options({ [option]: known + 1 })).toThrow(/whole number/);
  return known;
};
const SERVER: readonly Promised[] = [
  ["default 127.0.0.1:#; port 0 lets the system pick", promised.DEFAULT_PORT],
  ["default #, at most # (about a kilobyte each", server.options({}).capacity, most("capacity", table.MAX_CAPACITY)],
  ["or # after starting alone", server.FIRST_CLIENT_MS],
  ["the server takes out those that do not come back within #", server.ORPHAN_GRACE_MS],
  ["A client's network: the server takes the client out within #,", server.KEEPALIVE_MS + server.UNACKNOWLEDGED_MS],
  ["The server warns when # tenths of the names", nameLog.nearlyFull() * 10],
  ["the disk has it within #.", nameLog.syncMs()],
];

const TABLE: readonly Promised[] = [
  ["Header (# bytes)", table.headerBytes()],
  ["Versions: # words that the buckets share", table.VERSIONS],
  ["it tries again, at most # times, and then", table.MAX_ATTEMPTS],
  [
    "Names # bytes (# folded), host #, # endpoints, # of details; 1 to # clients, about # each; chains #; pages # records or # slots; # attempts; # for a creator",
    names.MAX_NAME_BYTES,
    names.MAX_FOLD_BYTES,
    table.MAX_HOST_BYTES,
    table.MAX_ENDPOINTS,
    table.MAX_DETAILS_BYTES,
    table.MAX_CAPACITY,
    table.perClient(),
    table.MAX_CHAIN,
    table.MAX_PAGE_ROWS,
    table.pageSlots(),
    table.MAX_ATTEMPTS,
    table.notReadyMs(),
  ],
  ["# rows, one for each of a user's clients", table.LOCAL_ROWS],
  ["and so on, up to .#.", table.MAX_CANDIDATES - 1],
];

const LOCK: readonly Promised[] = [
  ["then sleep in slices of at most #.", lock.sliceMs()],
  ["for a bounded grace (#).", lock.graceMs()],
  ["gets no other for #.", lock.yieldAgainMs()],
  ["or # in which it waited, nobody was inside", lock.stalledMs()],
  ["Slot words (# slots of", lock.capacity()],
];

describe.each([
  ["docs/PEER-PROTOCOL.md", PEER_PROTOCOL],
  ["docs/PROTOCOL.md", PROTOCOL],
  ["docs/SERVER.md", SERVER],
  ["docs/TABLE.md", TABLE],
  ["docs/LOCK.md", LOCK],
])("%s", (document, promises) => {
  const text = textOf(document);

  it.each(promises.map(([promise, ...values]) => ({ promise, values })))("$promise", ({ promise, values }) => {
    const [found, ...more] = [...text.matchAll(sentence(promise))];
    expect({ promise, found: found !== undefined, more: more.length }).toEqual({ promise, found: true, more: 0 });
    expect(found?.slice(1).map(numberOf)).toEqual(values);
  });
});

describe("the command", () => {
  const { EXIT, DEFAULT_SERVER } = promised;
  const statuses = [...new Set<number>(Object.values(EXIT))].sort((a, b) => a - b);

  it.each(["README.md", "man/ptalk.1"])("%s has exactly the exit statuses that there are", (document) => {
    const text = readFileSync(join(root, document), "utf8");
    const row = document.endsWith(".md") ? /^\| (\d+) \| /gm : /^\.It (\d+)$/gm;
    expect([...text.matchAll(row)].map(([, status]) => Number(status))).toEqual(statuses);
  });

  it.each(["README.md", "man/ptalk.1", "docs/SERVER.md"])("%s names the default server", (document) => {
    expect(textOf(document)).toContain(DEFAULT_SERVER);
  });
});

describe("a server that runs", () => {
  let running: Serving;
  const user = new User();
  beforeAll(async () => {
    running = await Serving.start();
  });
  afterAll(async () => {
    await running[Symbol.asyncDispose]();
    user[Symbol.dispose]();
  });

  /** The answer to one line, by any means: who owns a name is public. */
  async function ask(line: string): Promise<string> {
    const socket = connect(Number(running.address.split(":")[1]), "127.0.0.1");
    socket.end(`${line}\r\n`);
    return Buffer.concat(await socket.toArray()).toString();
  }

  it("lets a key own the promised number of names, and no more on one day", async () => {
    const promise = sentence("A key owns at most # names");
    const [[, promisedNames = ""] = []] = [...textOf("docs/PROTOCOL.md").matchAll(promise)];
    const settings = { server: running.address, stateDir: user.home, register: "never" } as const;
    const owned = async (name: string) => {
      const client = await promised.connect({ ...settings, name });
      await client.close();
      return !(await ask(`KEY ${name}`)).startsWith("$-1");
    };
    for (let i = 1; i <= numberOf(promisedNames); i++) expect(await owned(`name${i}`)).toBe(true);
    expect(await owned("one-more")).toBe(false);
  });
});
