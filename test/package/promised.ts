// The numbers that the code keeps to, for test/package/promises.test.ts. Everything that it knows of the places in lib/ stands here.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { MAX_ENDPOINTS } from "../../lib/base/endpoint.ts";
import { MAX_FOLD_BYTES, MAX_NAME_BYTES } from "../../lib/base/names.ts";
import { DEFAULT_PORT, DEFAULT_SERVER } from "../../lib/base/server-address.ts";
import { EXIT } from "../../lib/cli/exit-status.ts";
import { COOKIE_PERIOD } from "../../lib/crypto/handshake-mac.ts";
import { MAX_PAGE_ROWS } from "../../lib/directory/directory.ts";
import { MAX_DETAILS_BYTES, MAX_HOST_BYTES } from "../../lib/directory/entry.ts";
import { NAMES_PER_KEY, UNUSED_DAYS } from "../../lib/directory/name-ownership.ts";
import { ORPHAN_GRACE_MS } from "../../lib/directory/shm/shm-limits.ts";
import { geometryOf, MAX_CAPACITY, MAX_CHAIN, MIN_CAPACITY, VERSIONS } from "../../lib/directory/shm/table-layout.ts";
import { MAX_ATTEMPTS } from "../../lib/directory/shm/table-reader.ts";
import { TalkClient } from "../../lib/index.ts";
import * as peer from "../../lib/peer/limits.ts";
import { REPLAY_WINDOW } from "../../lib/peer/secure-session.ts";
import * as stream from "../../lib/peer/stream/stream-limits.ts";
import { LOCAL_ROWS, MAX_CANDIDATES } from "../../lib/presence/local-layout.ts";
import { FIRST_CLIENT_MS } from "../../lib/server/idle-shutdown.ts";
import * as server from "../../lib/server/limits.ts";
import { readOptions } from "../../lib/server/options.ts";
import * as commands from "../../lib/wire/commands.ts";
import * as datagram from "../../lib/wire/datagram.ts";
import { FRAGMENT_BYTES } from "../../lib/wire/datagram-frames.ts";
import { MAX_FROM_BYTES, MAX_ID_BYTES, MAX_TEXT_BYTES } from "../../lib/wire/datagram-message.ts";
import * as resp from "../../lib/wire/resp-limits.ts";

const lib = join(import.meta.dirname, "../../lib");

/** The value of a constant that its module keeps to itself: digits, points, and what multiplies them; `times` is left out. */
function declared(file: string, name: string, times = ""): number {
  const source = readFileSync(join(lib, file), "utf8").replaceAll(` * ${times}`, "");
  const [, text] = new RegExp(`^(?:export )?const ${name} = ([\\d_.* ]+);`, "m").exec(source) ?? [];
  if (text === undefined) throw new Error(`lib/${file} has no number ${name}`);
  return text
    .replaceAll("_", "")
    .split("*")
    .reduce((product, factor) => product * Number(factor), 1);
}

/** Bytes that a client takes in a table in which buckets are exactly twice as many. */
const perClient = (): number => (geometryOf(2 ** 20).bytes - geometryOf(2 ** 19).bytes) / 2 ** 19;
const WORD_BYTES = 4;

export const promised = {
  EXIT,
  DEFAULT_PORT,
  DEFAULT_SERVER,
  connect: TalkClient.connect,
  names: { MAX_NAME_BYTES, MAX_FOLD_BYTES, NAMES_PER_KEY, UNUSED_DAYS },
  crypto: { COOKIE_PERIOD, REPLAY_WINDOW },
  datagram: { ...datagram, FRAGMENT_BYTES },
  message: { MAX_FROM_BYTES, MAX_ID_BYTES, MAX_TEXT_BYTES },
  peer,
  stream,
  resp,
  commands,
  server: { ...server, FIRST_CLIENT_MS, ORPHAN_GRACE_MS, options: readOptions },
  table: {
    headerBytes: () => geometryOf(1).versions * WORD_BYTES,
    VERSIONS,
    MAX_CHAIN,
    MAX_ATTEMPTS,
    MAX_PAGE_ROWS,
    MAX_HOST_BYTES,
    MAX_ENDPOINTS,
    MAX_DETAILS_BYTES,
    MIN_CAPACITY,
    MAX_CAPACITY,
    LOCAL_ROWS,
    MAX_CANDIDATES,
    perClient,
    pageSlots: () => MAX_PAGE_ROWS * declared("directory/shm/client-table.ts", "MAX_PAGE_SLOTS", "MAX_PAGE_ROWS"),
    notReadyMs: () => declared("directory/shm/table-segment.ts", "NOT_READY_MS"),
  },
  nameLog: {
    syncMs: () => declared("directory/shm/name-log.ts", "SYNC_DELAY_MS"),
    nearlyFull: () => declared("directory/shm/name-log.ts", "NEARLY_FULL"),
  },
  lock: {
    sliceMs: () => declared("ipc/lock/acquire-deadline.ts", "LONGEST_SLICE_MS"),
    graceMs: () => declared("ipc/lock/wait.ts", "GRACE_MS"),
    yieldAgainMs: () => declared("ipc/lock/wait.ts", "YIELD_AGAIN_MS"),
    stalledMs: () => declared("ipc/lock/recover.ts", "STALLED_MS"),
    capacity: () => declared("ipc/lock/lock-layout.ts", "CAPACITY"),
  },
} as const;
