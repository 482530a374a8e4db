// What is fuzzed, and what must hold whatever the input is. The only file of the fuzzer that knows places in lib/.
import { deepStrictEqual, ok } from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type fc from "fast-check";
import { TalkError } from "../../lib/base/errors.ts";
import { foldName } from "../../lib/base/names.ts";
import { loadConfig, loadServeConfig } from "../../lib/cli/config.ts";
import { Editor, type Intention } from "../../lib/cli/terminal/editor.ts";
import { KeyDecoder } from "../../lib/cli/terminal/keys.ts";
import { Screen } from "../../lib/cli/terminal/screen.ts";
import { DirectoryError } from "../../lib/directory/directory-error.ts";
import { HEADER, RECORD_WORDS } from "../../lib/directory/shm/table-layout.ts";
import { processIdentity } from "../../lib/ipc/index.ts";
import { decodeRow, encodeRow, type OwnedLocalEntry } from "../../lib/presence/local-entry.ts";
import {
  LOCAL_BYTES,
  LOCAL_HEADER,
  LOCAL_HEADER_WORDS,
  LOCAL_LAYOUT_VERSION,
  LOCAL_MAGIC,
  ROW_WORDS,
} from "../../lib/presence/local-layout.ts";
import { listLocal } from "../../lib/presence/local-list.ts";
import { KnownPeers } from "../../lib/store/known-peers.ts";
import { knownPeersFile } from "../../lib/store/state-paths.ts";
import { DatagramType, encodeCookieReply, senderIndex } from "../../lib/wire/datagram.ts";
import { ProtocolError } from "../../lib/wire/protocol-error.ts";
import { ReplyDecoder, ReplyError, type RespValue } from "../../lib/wire/resp-reply.ts";
import { RequestParser } from "../../lib/wire/resp-request.ts";
import { client } from "../directory/shm/support/clients.ts";
import { HeapTable } from "../directory/shm/support/heap-table.ts";
import { expectWhole } from "../directory/shm/support/whole.ts";
import { freshStateDir, newKeys, ServerProcess } from "../helpers/lookup-server.ts";
import { PeerWorld } from "../helpers/peer-world.ts";
import { initTo, rawSession } from "../helpers/stranger.ts";
import * as inputs from "./inputs.ts";

/** What is set up for as many inputs as one process tries. */
export interface Subject<I> {
  /** @throws whatever is wrong */
  run(input: I): void | Promise<void>;
  close?(): void | Promise<void>;
}
export interface Target<I> {
  readonly about: string;
  readonly inputs: fc.Arbitrary<I>;
  open(): Subject<I> | Promise<Subject<I>>;
}

/** Set where /dev/shm is the fuzzer's own: only there segments under real names may be made. */
export const PRIVATE_SHM = "PTALK_FUZZ_PRIVATE_SHM";

/** Runs `work`; what it throws must be an error that ptalk expects, of one code if that is given. */
function expected(work: () => unknown, code?: string): void {
  try {
    work();
  } catch (error) {
    const isOurs = error instanceof TalkError || error instanceof DirectoryError;
    if (!isOurs || (code !== undefined && error.code !== code)) throw error;
  }
}

const requests: Target<inputs.Requests> = {
  about: "requests to the lookup server, in the parser: however they are cut, the same is read",
  inputs: inputs.requests,
  open: () => ({
    run: (input) => {
      const bytes = inputs.requestBytes(input);
      deepStrictEqual(readRequests(inputs.pieces(bytes, input.cuts)), readRequests([bytes]));
    },
  }),
};

function readRequests(chunks: readonly Buffer[]): unknown[] {
  const parser = new RequestParser();
  const read: unknown[] = [];
  let rest: Uint8Array | null = null;
  try {
    for (const chunk of chunks) {
      parser.open(rest, chunk);
      while (parser.next()) {
        ok(parser.count >= 1);
        read.push(Array.from({ length: parser.count }, (_, i) => Buffer.from(parser.argument(i)).toString("latin1")));
      }
      rest = parser.rest();
    }
    return [...read, "open"];
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return [...read, "refused"];
  }
}

const replies: Target<inputs.Replies> = {
  about: "replies of a server, in the client's decoder: however they are cut, the same is read",
  inputs: inputs.replies,
  open: () => ({
    run: ({ replies, edits, cuts }) => {
      const bytes = inputs.edited(Buffer.from(replies.join("")), edits);
      deepStrictEqual(readReplies(inputs.pieces(bytes, cuts)), readReplies([bytes]));
    },
  }),
};

function readReplies(chunks: readonly Buffer[]): unknown[] {
  const decoder = new ReplyDecoder();
  const read: unknown[] = [];
  try {
    for (const chunk of chunks) {
      decoder.push(chunk);
      for (let reply = decoder.next(); reply !== undefined; reply = decoder.next()) {
        read.push([reply.push, comparable(reply.value)]);
      }
    }
    return [...read, "open"];
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return [...read, "refused"];
  }
}

function comparable(value: RespValue): unknown {
  if (value instanceof ReplyError) return ["error", value.code, value.message];
  if (value instanceof Map) return [...value].map((pair) => pair.map(comparable));
  return Array.isArray(value) ? value.map(comparable) : value;
}

/** Far beyond any answer. */
const ANSWER_MS = 20_000;

const server: Target<inputs.Requests> = {
  about: "requests to a real server: it answers in RESP, closes what has ended, and serves others",
  inputs: inputs.requests,
  open: async () => {
    const state = freshStateDir();
    const running = await ServerProcess.start(["--workers", "1", "--capacity", "64", "--state-dir", state.path]);
    const witness = await running.client();
    const registered = await witness.register("witness", newKeys());
    if (registered !== "OK") await running.stop();
    deepStrictEqual(registered, "OK");
    const workers = async () => (String(await witness.ask("INFO")).match(/pid=\d+/g) ?? []).join();
    const before = await workers();
    return {
      run: async (input) => {
        await converse(running.port, inputs.pieces(inputs.requestBytes(input), input.cuts));
        deepStrictEqual(await witness.ask("PING"), "PONG");
        ok(!running.log.includes("request failed"), running.log.slice(-500));
      },
      close: async () => {
        deepStrictEqual(await workers(), before);
        deepStrictEqual(await witness.ask("COUNT"), 1);
        deepStrictEqual(await running.stop(), 0);
        state.remove();
      },
    };
  },
};

/** Says all of it, then no more; reads until the server closes. */
async function converse(port: number, chunks: readonly Buffer[]): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  const decoder = new ReplyDecoder();
  let wrong: unknown;
  socket.on("error", () => {});
  socket.on("data", (chunk) => {
    try {
      decoder.push(chunk);
      while (decoder.next() !== undefined);
    } catch (error) {
      wrong ??= error;
    }
  });
  const closed = once(socket, "close", { signal: AbortSignal.timeout(ANSWER_MS) });
  for (const chunk of chunks) socket.write(chunk);
  socket.end();
  await closed;
  if (wrong) throw wrong;
}

const frames: Target<inputs.Payloads> = {
  about: "frames of an authentic peer that breaks the protocol: it loses its session at most, and nobody else notices",
  inputs: inputs.payloads,
  open: () => ({
    run: ({ payloads }) => {
      const world = new PeerWorld();
      const [bob, friend] = [world.program(2), world.program(3)];
      const session = rawSession(world, bob);
      for (const { frames, edits } of payloads) {
        const payload = inputs.edited(Buffer.concat(frames.map(inputs.frameBytes)), edits);
        session.send(payload.subarray(0, 1100));
        world.run(5);
      }
      world.run(500);
      stillTalk(world, bob, friend);
    },
  }),
};

type Program = ReturnType<PeerWorld["program"]>;
function stillTalk(world: PeerWorld, bob: Program, friend: Program): void {
  const sent = [friend.send(bob), bob.send(friend)];
  world.run(5_000, () => sent.every(({ outcome }) => outcome !== undefined));
  deepStrictEqual(
    sent.map(({ outcome }) => outcome),
    [null, null],
  );
}

const handshakes: Target<inputs.Datagrams> = {
  about: "handshakes of strangers, and answers to ours that are none: dropped, and friends can call",
  inputs: inputs.datagrams,
  open: () => ({
    run: ({ datagrams }) => {
      const world = new PeerWorld();
      const [bob, friend, away] = [world.program(2), world.program(3), world.program(4)];
      // bob calls somebody who does not answer: there is something that a stranger can answer to.
      let ours = Buffer.alloc(8);
      const { transmit } = world;
      world.transmit = (datagram) => {
        ours = Buffer.from(datagram);
      };
      const calling = bob.send(away, 20, 1_000);
      world.transmit = transmit;
      let last = initTo(bob).datagram;
      for (const { kind, bytes, from, edits } of datagrams) {
        if (kind === "init") last = initTo(bob).datagram;
        const datagram = kind === "init" || kind === "again" ? last : answer(kind, senderIndex(ours), bytes);
        bob.engine.receive(inputs.edited(datagram, edits), `192.0.2.${from}`, 1000 + from, world.now);
        bob.engine.flush(world.now);
        world.run(1);
      }
      const { sessions, halfOpen } = bob.engine.stats();
      ok(sessions <= 1 && halfOpen <= datagrams.length);
      calling.cancel();
      stillTalk(world, bob, friend);
    },
  }),
};

function answer(kind: "response" | "cookie" | "noise", index: number, bytes: string): Buffer {
  const noise = inputs.bytesOf(bytes);
  if (kind === "noise") return noise;
  if (kind === "cookie") return encodeCookieReply(index, Buffer.concat([noise, Buffer.alloc(16)]).subarray(0, 16));
  const head = Buffer.alloc(12);
  head[0] = DatagramType.response;
  head.writeUInt32BE(index, 8);
  return Buffer.concat([head, noise, randomBytes(60)]).subarray(0, 72);
}

const NAMES = Array.from({ length: 16 }, (_, i) => `user${i}`);
const table: Target<inputs.Words> = {
  about: "a server's table whose words others have changed: readers end, writers refuse, a repair makes it whole",
  inputs: inputs.words,
  open: () => {
    const good = new HeapTable(16);
    for (const [i, name] of NAMES.entries()) good.writer.insert(client(name, i));
    for (const name of ["user3", "user9"]) {
      const found = good.find(name);
      if (found) good.writer.remove(found.slot, found.version);
    }
    const table = new HeapTable(16, good.words.slice());
    return {
      run: ({ edits, steps }) => {
        table.words.set(good.words);
        for (const { part, at, value } of edits) table.words[placeOf(good, part, at)] = value;
        for (const { does, n } of steps) expected(() => step(table, does, n));
        table.repair();
        expectWhole(table);
      },
    };
  },
};

function placeOf({ geometry }: HeapTable, part: number, at: number): number {
  const used = HEADER.lastVersion + 1;
  if (part === 0) return HEADER.count + (at % (used - HEADER.count));
  if (part === 1) return geometry.buckets + (at % (geometry.bucketMask + 1));
  if (part === 2) return geometry.records + (at % 17) * RECORD_WORDS + (Math.floor(at / 17) % 9);
  return geometry.records + (at % (17 * RECORD_WORDS));
}

function step(table: HeapTable, does: number, n: number): void {
  const name = NAMES[n % NAMES.length] as string;
  if (does === 0) table.find(name);
  else if (does === 1) table.all();
  else if (does === 2) table.writer.insert(client(`fresh${n}`, n));
  else if (does === 3) table.writer.remove(n % 17, n);
  else if (does === 4) table.writer.replace(n % 17, client(name, n));
  else if (does === 5) {
    table.repair();
    expectWhole(table);
  } else table.find(`nobody${n}`);
}

const local: Target<inputs.Rows> = {
  about: "a user's segment of who is on, written by others: the list has what is right, and nothing else",
  inputs: inputs.rows,
  open: () => {
    const { pid, startTime } = processIdentity() ?? { pid: process.pid, startTime: 0 };
    return {
      run: (input) => {
        const written = input.rows.map(({ count, ...fields }): OwnedLocalEntry => {
          const times = { startedAt: count % 8e15, lastMessageAt: null };
          return { ...fields, ...times, pid, startTime, sent: count, received: count };
        });
        const rows = written.map((row) => encodeRow(row));
        for (const { row, at, value } of input.edits) {
          const words = rows[row];
          if (words) words[at % ROW_WORDS] = value;
        }
        for (const row of rows) {
          const read = decodeRow(row);
          if (read) encodeRow(read); // throws for what no client could have written
        }
        if (process.env[PRIVATE_SHM]) listSegment(rows, input, written.length);
      },
    };
  },
};

function listSegment(rows: readonly Int32Array[], { used, edits }: inputs.Rows, count: number): void {
  const uid = process.geteuid?.() ?? 0;
  const words = new Int32Array(LOCAL_BYTES / Int32Array.BYTES_PER_ELEMENT);
  words[LOCAL_HEADER.magic] = LOCAL_MAGIC;
  words[LOCAL_HEADER.layoutVersion] = LOCAL_LAYOUT_VERSION;
  words[LOCAL_HEADER.usedRows] = edits.length === 0 ? count : used;
  for (const [i, row] of rows.entries()) words.set(row, LOCAL_HEADER_WORDS + i * ROW_WORDS);
  writeFileSync(`/dev/shm/ptalk-host-${uid}`, Buffer.from(words.buffer));
  const listed = listLocal();
  if (edits.length === 0) deepStrictEqual(listed.length, count);
  ok(listed.length <= count && listed.every(({ uid: of, port }) => of === uid && port > 0 && port <= 65_535));
}

/** A folder for one target's files. */
function folder(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "ptalk-fuzz-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

const config: Target<inputs.Settings> = {
  about: "config.toml: read, or refused with a sentence",
  inputs: inputs.settings,
  open: () => {
    const { path, remove } = folder();
    mkdirSync(join(path, "ptalk"));
    const file = join(path, "ptalk", "config.toml");
    const env = { XDG_CONFIG_HOME: path, HOME: path, XDG_STATE_HOME: path };
    return {
      run: async (input) => {
        writeFileSync(file, inputs.settingsBytes(input));
        for (const load of [loadConfig, loadServeConfig]) {
          try {
            for (const [setting, value] of Object.entries(await load({}, env))) {
              ok(["string", "number", "boolean", "undefined"].includes(typeof value), setting);
              if (typeof value === "number") ok(Number.isFinite(value) && value >= 0, setting);
              // Whether a name is one is said where it is used.
              if (typeof value === "string" && setting !== "name") ok(!value.includes("\0"), setting);
            }
          } catch (error) {
            if (!(error instanceof TalkError)) throw error;
            ok(error.message.includes(path) && !error.message.includes("\n"), error.message);
          }
        }
      },
      close: remove,
    };
  },
};

const SERVERS = ["127.0.0.1:5518", "[::1]:5518"];
const PINNED = ["ann", "Bob", "Ĝis", "日本"].map(foldName);
const KEYS = [1, 2, 3].map((n) => Buffer.alloc(32, n).toString("base64"));

const knownPeers: Target<inputs.Pins> = {
  about: "known_peers: what it says holds, or it is refused; what is remembered stays",
  inputs: inputs.pins,
  open: () => {
    const { path, remove } = folder();
    const file = knownPeersFile(path);
    mkdirSync(join(file, ".."), { recursive: true });
    return {
      run: (input) => {
        const inForce = new Map<string, string>();
        const lines = input.lines.map(({ server, name, key, forgotten }) => {
          const subject = `${SERVERS[server]}/${PINNED[name]}`;
          if (forgotten) inForce.delete(subject);
          else if (!inForce.has(subject)) inForce.set(subject, KEYS[key] as string);
          return `${subject} ${forgotten ? "-" : KEYS[key]}`;
        });
        const text = lines.join(input.ends) + (input.last && lines.length > 0 ? input.ends : "");
        writeFileSync(file, inputs.edited(Buffer.from((input.mark ? "\ufeff" : "") + text), input.edits));
        if (input.edits.length === 0) expected(() => holds(new KnownPeers(path), inForce), "bad-config");
        expected(() => remembers(new KnownPeers(path)), "bad-config");
      },
      close: remove,
    };
  },
};

function holds(peers: KnownPeers, inForce: ReadonlyMap<string, string>): void {
  for (const server of SERVERS) {
    for (const name of PINNED) {
      const key = inForce.get(`${server}/${name}`);
      if (key !== undefined) deepStrictEqual(peers.check(server, name, key), "known");
      else deepStrictEqual(peers.check(server, name, KEYS[0] as string), "new");
    }
  }
}

function remembers(peers: KnownPeers): void {
  const before = peers.list();
  peers.remember("example.org:1", "carol", KEYS[0] as string);
  deepStrictEqual(peers.check("example.org:1", "carol", KEYS[0] as string), "known");
  const after = new Set(peers.list().map((peer) => JSON.stringify(peer)));
  ok(before.every((peer) => after.has(JSON.stringify(peer))));
}

const CONTROL = /\p{Cc}/u;
/** What moves the cursor, erases and switches wrapping (ECMA-48). */
const SEQUENCES = new RegExp(`${String.fromCharCode(27)}\\[[?\\d]*[A-Za-z]`, "g");
const keys: Target<inputs.Typing> = {
  about: "keys typed at the terminal: the line and the screen stay in order",
  inputs: inputs.typing,
  open: () => ({
    run: ({ typed, edits, cuts, columns }) => {
      const bytes = inputs.edited(Buffer.from(typed.join("")), edits);
      const screen = { columns: 80, rows: 24, written: "", write: (text: string) => (screen.written = text) };
      const shown = new Screen(screen, { prompt: (text) => text, status: (text) => text });
      const decoder = new KeyDecoder();
      const editor = new Editor({
        commands: ["All", "Exit"],
        names: () => ["ann", "Änne", "bob"],
        slashCommands: ["to", "exit"],
        partners: () => ["bob"],
        prefix: () => "@",
        fold: foldName,
      });
      inputs.pieces(bytes, cuts).forEach((piece, i) => {
        screen.columns = columns[i % columns.length] as number;
        shown.resized();
        for (const key of [...decoder.feed(piece), ...(i === 2 ? decoder.flush() : [])]) {
          if (key.type === "text") ok(!CONTROL.test(key.text));
          check(editor, editor.press(key));
        }
        const { text, cursor } = editor;
        shown.show({ status: ["status"], prompt: "> ", text, cursor });
        const drawn = screen.written.replace(SEQUENCES, "").replaceAll(/[\r\n]/g, "");
        ok(!CONTROL.test(drawn), `a control character on the screen: ${JSON.stringify(drawn)}`);
      });
    },
  }),
};

function check({ text, cursor }: Editor, intention: Intention): void {
  ok(cursor >= 0 && cursor <= text.length, `cursor ${cursor} in ${text.length}`);
  if (intention.type === "submit") deepStrictEqual([text, cursor], ["", 0]);
}

/** Inputs come from JSON as well: each target knows its own. */
const any = <I>({ about, inputs: all, open }: Target<I>): Target<unknown> => ({
  about,
  inputs: all,
  open: async () => {
    const { run, close } = await open();
    return { run: (input) => run(input as I), ...(close ? { close } : {}) };
  },
});

export const TARGETS: Readonly<Record<string, Target<unknown>>> = {
  requests: any(requests),
  replies: any(replies),
  server: any(server),
  frames: any(frames),
  handshakes: any(handshakes),
  table: any(table),
  local: any(local),
  config: any(config),
  "known-peers": any(knownPeers),
  keys: any(keys),
};
