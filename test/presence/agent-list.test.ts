// What counts as an agent of this user in shared memory, and what is left out: nobody may be taken for an agent by its name alone.
import { rmSync, writeFileSync } from "node:fs";
import { afterEach, expect, it } from "vitest";
import { processIdentity } from "../../lib/ipc/index.ts";
import {
  AGENT_BYTES,
  AGENT_LAYOUT_VERSION,
  AGENT_MAGIC,
  AGENT_WORDS,
  type AgentState,
  listAgents,
} from "../../lib/presence/agent-list.ts";

const NAME = `listed-${process.pid}`;
const path = `/dev/shm/ptalk-agent-${process.geteuid?.()}.${NAME}`;
afterEach(() => rmSync(path, { force: true }));

/** This process, as an agent of that name. */
const state: AgentState = {
  ...{ pid: process.pid, startTime: processIdentity()?.startTime ?? 0, name: NAME, server: "127.0.0.1:5518" },
  ...{ startedAt: 1_790_000_000_000, state: "on", unread: 2, lastFrom: "ann", unreadSince: 1_790_000_000_001 },
};

function write(more: Partial<Record<"magic" | "version" | "sequence" | "length", number>>, text: string): void {
  const bytes = Buffer.alloc(AGENT_BYTES);
  const words = {
    magic: AGENT_MAGIC,
    version: AGENT_LAYOUT_VERSION,
    sequence: 2,
    length: Buffer.byteLength(text),
    ...more,
  };
  for (const [word, value] of Object.entries(words))
    bytes.writeInt32LE(value, 4 * AGENT_WORDS[word as keyof typeof words]);
  bytes.write(text, 4 * AGENT_WORDS.text);
  writeFileSync(path, bytes, { mode: 0o600 });
}

const listed = (): AgentState[] => listAgents().filter(({ name }) => name === NAME);

it("is one that is whole and whose process lives", () => {
  write({}, JSON.stringify(state));
  expect(listed()).toEqual([state]);
  write({}, JSON.stringify({ ...state, state: "waiting", lastFrom: null, unreadSince: null }));
  expect(listed()).toMatchObject([{ state: "waiting", lastFrom: null, unreadSince: null }]);
});

it.each([
  ["another magic", { magic: AGENT_MAGIC + 1 }, {}],
  ["another version", { version: AGENT_LAYOUT_VERSION + 1 }, {}],
  ["a writer that died in the middle", { sequence: 3 }, {}],
  ["a length below 0", { length: -1 }, {}],
  ["no length", { length: 0 }, {}],
  ["a process that started at another time", {}, { startTime: state.startTime + 1 }],
  ["a process that is not there", {}, { pid: 2 ** 22 + 1 }],
  ["no pid", {}, { pid: "1" }],
  ["a name that is none", {}, { name: "no/name" }],
  ["a state that is none", {}, { state: "off" }],
  ["a count that is none", {}, { unread: -1 }],
] as const)("is none with %s", (_, words, fields) => {
  write(words, JSON.stringify({ ...state, ...fields }));
  expect(
    listAgents().filter(({ server, startedAt }) => startedAt === state.startedAt && server === state.server),
  ).toEqual([]);
});

it.each(["", "{", "null", "[]", '"agent"'])("is none whose text is %j", (text) => {
  write({}, text);
  expect(listed()).toEqual([]);
});

it.each([0, AGENT_BYTES - 1, AGENT_BYTES + 1])("is none of %d bytes", (bytes) => {
  writeFileSync(path, Buffer.alloc(bytes), { mode: 0o600 });
  expect(listed()).toEqual([]);
});
