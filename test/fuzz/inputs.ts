// What is thrown at the targets: things that are nearly right. Inputs are made of numbers and text only, so that one that breaks
// something can be kept as JSON; what they mean in bytes is said here as well. Knows nothing of ptalk's code.

import fc from "fast-check";

/** Bytes as text, a character each: JSON has no bytes. */
export const binary = (maxLength: number): fc.Arbitrary<string> =>
  fc.uint8Array({ maxLength }).map((bytes) => Buffer.from(bytes).toString("latin1"));
export const bytesOf = (text: string): Buffer => Buffer.from(text, "latin1");

/** A change to bytes, at a place that is taken modulo their number. */
export interface Edit {
  readonly does: "set" | "flip" | "delete" | "insert" | "repeat" | "cut";
  readonly at: number;
  readonly value: number;
}
export const edits: fc.Arbitrary<readonly Edit[]> = fc.array(
  fc.record({
    does: fc.constantFrom("set", "flip", "delete", "insert", "repeat", "cut"),
    at: fc.nat(20_000),
    value: fc.nat(255),
  }),
  { maxLength: 4 },
);

export function edited(bytes: Buffer, changes: readonly Edit[]): Buffer {
  return changes.reduce(applied, Buffer.from(bytes));
}

function applied(bytes: Buffer, { does, at: place, value }: Edit): Buffer {
  const at = place % (bytes.length + 1);
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
  switch (does) {
    case "set":
      return Buffer.concat([before, Buffer.of(value), after.subarray(1)]);
    case "flip":
      return Buffer.concat([before, Buffer.of((after[0] ?? 0) ^ (1 << (value & 7))), after.subarray(1)]);
    case "delete":
      return Buffer.concat([before, after.subarray(1 + (value & 7))]);
    case "insert":
      return Buffer.concat([before, Buffer.of(value), after]);
    case "repeat":
      return Buffer.concat([before, after.subarray(0, value), after]);
    case "cut":
      return Buffer.from(before);
  }
}

/** Where bytes are cut into pieces, as a network or a terminal does. */
export const cuts: fc.Arbitrary<readonly number[]> = fc.array(fc.nat(20_000), { maxLength: 6 });

export function pieces(bytes: Buffer, places: readonly number[]): Buffer[] {
  const ends = [...places.map((place) => place % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  return ends.map((end, i) => bytes.subarray(i === 0 ? 0 : ends[i - 1], end));
}

/** Words that mean something to a server, words that nearly do, and any others. */
const TELLING_WORDS = [
  ...["HELLO", "REGISTER", "UNREGISTER", "CLAIM", "KEY", "LOOKUP", "ALL", "COUNT", "WATCH", "UNWATCH", "CALL", "PING"],
  ...["ECHO", "INFO", "COMMAND", "CLIENT", "CONFIG", "SELECT", "QUIT", "AUTH", "NAMES", "JOIN", "PART", "MEMBERS"],
  ...["STATUS", "LEAVE", "TAKE", "DONE", "RELAY", "OWNER", "ADMIN"],
  ...["KEY", "PORT", "ADDR", "HOST", "SIG", "TAKEOVER", "REPLACE", "PROBE", "CURSOR", "SETNAME", "GET", "DOCS"],
  ...[
    "0",
    "1",
    "2",
    "3",
    "-1",
    "65535",
    "65536",
    "99999999999999999999",
    "1e3",
    "NaN",
    "",
    "witness",
    "Witness",
    "#ops",
  ],
  ...["127.0.0.1", "::1", "::ffff:127.0.0.1", "fe80::1%lo", "0.0.0.0", "\0", "\r\n", "*", "$", "x".repeat(33)],
  ...["é", "ß", "\u202e", "\ufeff", "'it\\'s'", '"\\xff\\n"', '"a b', "y".repeat(9000)],
  "b25seSAzMiBieXRlcyBvZiBhbiBFZDI1NTE5IGtleSE=",
];
const word = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...TELLING_WORDS) },
  { weight: 1, arbitrary: fc.string({ unit: "grapheme", maxLength: 40 }) },
  { weight: 1, arbitrary: binary(60) },
);

/** Requests to a server: as arrays of words, as lines, or as any bytes. */
export type Request = { readonly words: readonly string[] } | { readonly line: string } | { readonly raw: string };
const request: fc.Arbitrary<Request> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ words: fc.array(word, { minLength: 1, maxLength: 8 }) }) },
  { weight: 2, arbitrary: fc.array(word, { maxLength: 5 }).map((words) => ({ line: words.join(" ") })) },
  { weight: 1, arbitrary: fc.record({ raw: binary(80) }) },
);

export interface Requests {
  readonly requests: readonly Request[];
  readonly edits: readonly Edit[];
  readonly cuts: readonly number[];
}
export const requests: fc.Arbitrary<Requests> = fc.record({
  requests: fc.array(request, { maxLength: 8 }),
  edits,
  cuts,
});

/** Lengths are counted as they are, so unedited arrays are right. */
export function requestBytes({ requests, edits }: Requests): Buffer {
  const parts = requests.map((each) => {
    if ("raw" in each) return bytesOf(each.raw);
    if ("line" in each) return Buffer.from(`${each.line}\r\n`);
    const words = each.words.map((text) => Buffer.from(text));
    const bulks = words.flatMap((bytes) => [Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from("\r\n")]);
    return Buffer.concat([Buffer.from(`*${words.length}\r\n`), ...bulks]);
  });
  return edited(Buffer.concat(parts), edits);
}

/** A reply of a server, as its text. */
const { reply } = fc.letrec<{ reply: string }>((tie) => {
  const many = (mark: string, factor: number) =>
    fc
      .array(tie("reply"), { maxLength: 4 })
      .map(
        (all) =>
          `${mark}${Math.floor(all.length / factor)}\r\n${all.slice(0, all.length - (all.length % factor)).join("")}`,
      );
  const line = fc.string({ unit: fc.constantFrom(..."abc 019:$*-"), maxLength: 12 });
  return {
    reply: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      line.map((text) => `+${text}\r\n`),
      line.map((text) => `-ERR ${text}\r\n`),
      fc.bigInt({ min: -(2n ** 66n), max: 2n ** 66n }).map((n) => `:${n}\r\n`),
      fc.string({ unit: "grapheme", maxLength: 30 }).map((text) => `$${Buffer.byteLength(text)}\r\n${text}\r\n`),
      fc.constantFrom("_\r\n", "#t\r\n", "#f\r\n", "$-1\r\n", "*-1\r\n", "*0\r\n", "%0\r\n"),
      fc.double().map((n) => `,${n}\r\n`),
      fc.bigInt().map((n) => `(${n}\r\n`),
      fc.string({ maxLength: 9 }).map((text) => `=${4 + Buffer.byteLength(text)}\r\ntxt:${text}\r\n`),
      many("*", 1),
      many("~", 1),
      many("%", 2),
      many(">", 1),
    ),
  };
});
export interface Replies {
  readonly replies: readonly string[];
  readonly edits: readonly Edit[];
  readonly cuts: readonly number[];
}
export const replies: fc.Arbitrary<Replies> = fc.record({
  replies: fc.array(reply, { maxLength: 6 }),
  edits,
  cuts,
});

/** Numbers at the borders of what a field holds, small ones, any. */
const uint = (bits: number): fc.Arbitrary<number> =>
  fc.oneof(
    fc.nat(40),
    fc.constantFrom(2 ** bits - 1, 2 ** (bits - 1), 2 ** (bits - 1) - 1),
    fc.integer({ min: 0, max: 2 ** bits - 1 }),
  );

/** One frame of a peer's payload, in the layout of docs/PEER-PROTOCOL.md. */
export type Frame =
  | { readonly type: "ack"; readonly largest: number; readonly words: readonly number[] }
  | { readonly type: "settled"; readonly upTo: number; readonly refused: readonly number[] }
  | { readonly type: "base"; readonly number: number }
  | {
      readonly type: "fragment";
      readonly number: number;
      readonly total: number;
      readonly index: number;
      readonly bytes: string;
    }
  | { readonly type: "ping" }
  | { readonly type: "close" }
  | { readonly type: "raw"; readonly bytes: string };
const frame: fc.Arbitrary<Frame> = fc.oneof(
  fc.record({ type: fc.constant("ack"), largest: uint(32), words: fc.array(uint(32), { maxLength: 9 }) }),
  fc.record({ type: fc.constant("settled"), upTo: uint(32), refused: fc.array(uint(32), { maxLength: 17 }) }),
  fc.record({ type: fc.constant("base"), number: uint(32) }),
  fc.record({
    type: fc.constant("fragment"),
    number: uint(32),
    total: fc.oneof(fc.nat(200), fc.constantFrom(1088, 1089, 65_792, 65_793), uint(32)),
    index: fc.oneof(fc.nat(3), uint(16)),
    bytes: fc.oneof(binary(40), fc.constantFrom("\0\x01a\x01bhello", "\0\x01a\x01b", "m".repeat(1088))),
  }),
  fc.record({ type: fc.constant("ping") }),
  fc.record({ type: fc.constant("close") }),
  fc.record({ type: fc.constant("raw"), bytes: binary(20) }),
);

/** Payloads of authentic datagrams. */
export interface Payloads {
  readonly payloads: readonly { readonly frames: readonly Frame[]; readonly edits: readonly Edit[] }[];
}
export const payloads: fc.Arbitrary<Payloads> = fc.record({
  payloads: fc.array(fc.record({ frames: fc.array(frame, { maxLength: 6 }), edits }), { maxLength: 8 }),
});

const TYPES = { ack: 1, settled: 2, base: 3, fragment: 4, ping: 5, close: 6 } as const;

export function frameBytes(frame: Frame): Buffer {
  if (frame.type === "raw") return bytesOf(frame.bytes);
  const head = Buffer.of(TYPES[frame.type]);
  switch (frame.type) {
    case "ack":
      return Buffer.concat([head, u32(frame.largest), Buffer.of(frame.words.length), ...frame.words.map(u32)]);
    case "settled":
      return Buffer.concat([head, u32(frame.upTo), Buffer.of(frame.refused.length), ...frame.refused.map(u32)]);
    case "base":
      return Buffer.concat([head, u32(frame.number)]);
    case "fragment": {
      const index = Buffer.of(frame.index >> 8, frame.index & 255);
      return Buffer.concat([head, u32(frame.number), u32(frame.total), index, bytesOf(frame.bytes)]);
    }
    case "ping":
    case "close":
      return head;
  }
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

/** Datagrams of strangers: handshakes that were right before they were edited, answers to ours, cookies, noise. */
export interface Datagrams {
  readonly datagrams: readonly {
    readonly kind: "init" | "again" | "response" | "cookie" | "noise";
    readonly bytes: string;
    readonly from: number;
    readonly edits: readonly Edit[];
  }[];
}
export const datagrams: fc.Arbitrary<Datagrams> = fc.record({
  datagrams: fc.array(
    fc.record({
      kind: fc.constantFrom("init", "again", "response", "cookie", "noise"),
      bytes: binary(200),
      from: fc.nat(3),
      edits,
    }),
    { maxLength: 10 },
  ),
});

/** Changes to words of a shared-memory segment, and what is then done with it. */
export interface Words {
  readonly edits: readonly { readonly part: number; readonly at: number; readonly value: number }[];
  readonly steps: readonly { readonly does: number; readonly n: number }[];
}
const wordValue = fc.oneof(fc.nat(80), fc.integer(), fc.constantFrom(-1, 2 ** 31 - 1, -(2 ** 31)));
export const words: fc.Arbitrary<Words> = fc.record({
  edits: fc.array(fc.record({ part: fc.nat(3), at: fc.nat(4095), value: wordValue }), { maxLength: 8 }),
  steps: fc.array(fc.record({ does: fc.nat(6), n: fc.nat(40) }), { minLength: 1, maxLength: 8 }),
});

/** Rows of a user's local segment: as clients write them, and edited. */
export interface Rows {
  readonly rows: readonly {
    readonly name: string;
    readonly tty: string | null;
    readonly server: string;
    readonly address: string;
    readonly port: number;
    readonly count: number;
  }[];
  readonly used: number;
  readonly edits: readonly { readonly row: number; readonly at: number; readonly value: number }[];
}
export const rows: fc.Arbitrary<Rows> = fc.record({
  rows: fc.array(
    fc.record({
      name: fc.constantFrom("ann", "bob", "Ĝis", "日本", "x".repeat(32)),
      tty: fc.constantFrom(null, "/dev/pts/3", "/dev/tty1"),
      server: fc.constantFrom("127.0.0.1:5518", "[::1]:1", "h".repeat(255)),
      address: fc.constantFrom("127.0.0.1", "::1", "fd00::1:2:3"),
      port: fc.integer({ min: 1, max: 65_535 }),
      count: fc.maxSafeNat(),
    }),
    { maxLength: 5 },
  ),
  used: wordValue,
  edits: fc.array(fc.record({ row: fc.nat(6), at: fc.nat(200), value: wordValue }), { maxLength: 6 }),
});

const KEYS_OF_SETTINGS = [
  ...["server", "name", "state-dir", "port", "timeout", "insecure", "bell", "history", "accept", "listed", "relay"],
  ...[
    "listen",
    "workers",
    "capacity",
    "exit-when-empty",
    "tls",
    "tls-cert",
    "tls-key",
    "table-mode",
    "__proto__",
    "serve",
  ],
];
const setting = fc.tuple(
  fc.oneof(fc.constantFrom(...KEYS_OF_SETTINGS), fc.string({ maxLength: 8 })),
  fc.oneof(
    fc.constantFrom('"127.0.0.1:5518"', '"[::1]:0"', '"ann"', "true", "false", "0", "-1", "65536", "1.5", "inf", "nan"),
    fc.constantFrom("[]", "{}", '""', '"""a\nb"""', "1979-05-27", "0x10", '"\\u0000"', '"/a\\u0000b"', '"0644"', "["),
    fc.string({ unit: "grapheme", maxLength: 12 }).map((text) => JSON.stringify(text)),
  ),
);
/** A settings file. */
export interface Settings {
  readonly top: readonly (readonly [string, string])[];
  readonly serve: readonly (readonly [string, string])[];
  readonly edits: readonly Edit[];
}
export const settings: fc.Arbitrary<Settings> = fc.record({
  top: fc.array(setting, { maxLength: 5 }),
  serve: fc.array(setting, { maxLength: 4 }),
  edits,
});
export function settingsBytes({ top, serve, edits }: Settings): Buffer {
  const lines = (of: Settings["top"]) => of.map(([key, value]) => `${key} = ${value}\n`).join("");
  const table = serve.length > 0 ? `[serve]\n${lines(serve)}` : "";
  return edited(Buffer.from(`# settings\n${lines(top)}${table}`), edits);
}

/** A file of remembered keys: whose editor wrote it, and what happened to it since. */
export interface Pins {
  readonly lines: readonly {
    readonly server: number;
    readonly name: number;
    readonly key: number;
    readonly forgotten: boolean;
  }[];
  readonly mark: boolean;
  readonly ends: "\n" | "\r\n" | "\r";
  readonly last: boolean;
  readonly edits: readonly Edit[];
}
export const pins: fc.Arbitrary<Pins> = fc.record({
  lines: fc.array(fc.record({ server: fc.nat(1), name: fc.nat(3), key: fc.nat(2), forgotten: fc.boolean() }), {
    maxLength: 8,
  }),
  mark: fc.boolean(),
  ends: fc.constantFrom("\n", "\n", "\r\n", "\r"),
  last: fc.boolean(),
  edits: fc.oneof({ weight: 1, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: edits }),
});

const ESC = "\x1b";
/** Two of them are more than the longest line. */
const HALF_A_LINE = "x".repeat(33_001);
const TYPED = [
  ...[
    "a",
    "hello ",
    "é",
    "漢字",
    "👨‍👩‍👧",
    "e\u0301",
    "🇩🇪",
    "ﷺ",
    "\u202e",
    "\ufeff",
    "x".repeat(200),
    "x".repeat(33_000),
  ],
  ...[
    "\r",
    "\n",
    "\t",
    "\x7f",
    "\b",
    "\0",
    "\x01",
    "\x02",
    "\x03",
    "\x04",
    "\x05",
    "\x06",
    "\x0b",
    "\x0c",
    "\x0e",
    "\x10",
  ],
  ...["\x15", "\x17", "\x19", "\x1a", "\x1c", ESC, `${ESC}b`, `${ESC}f`, `${ESC}d`, `${ESC}\x7f`, `${ESC}${ESC}`],
  ...["A", "B", "C", "D", "H", "F", "Z", "1;5C", "1;5D", "1;3C", "3~", "5~", "200~", "201~", "24;80R"].map(
    (end) => `${ESC}[${end}`,
  ),
  ...[
    `${ESC}OA`,
    `${ESC}O`,
    `${ESC}[`,
    `${ESC}[[A`,
    `${ESC}[${"1;".repeat(40)}`,
    `${ESC}[200~pasted\r\nlines${ESC}[201~`,
  ],
];
/** What comes from a keyboard, in pieces, on a terminal whose size changes. */
export interface Typing {
  readonly typed: readonly string[];
  readonly edits: readonly Edit[];
  readonly cuts: readonly number[];
  readonly columns: readonly number[];
}
export const typing: fc.Arbitrary<Typing> = fc.record({
  typed: fc.array(
    fc.oneof(
      { weight: 400, arbitrary: fc.constantFrom(...TYPED) },
      { weight: 1, arbitrary: fc.constant(HALF_A_LINE) },
      { weight: 50, arbitrary: fc.string({ maxLength: 6 }) },
    ),
    { maxLength: 30 },
  ),
  edits,
  cuts,
  columns: fc.array(fc.nat(120), { minLength: 1, maxLength: 7 }),
});
