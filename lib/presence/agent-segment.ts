// What an agent tells its user's other programs, in an object of its own: agent-list.ts has the layout and reads it. The agent keeps a
// seat in it, so that `ptalk ipc` sees it live. An object that is removed from outside (systemd's RemoveIPC) has a successor soon.
import { randomBytes } from "node:crypto";
import { processIdentity } from "../ipc/index.ts";
import { LivenessLocks } from "../ipc/liveness-locks.ts";
import { fdOf, SharedMemory } from "../ipc/shared-memory.ts";
import { AGENT_BYTES, AGENT_LAYOUT_VERSION, AGENT_MAGIC, AGENT_WORDS, type AgentState } from "./agent-list.ts";

const MODE = 0o600;
const RANDOM_BYTES = 8;
/** Milliseconds between two looks whether the object still has its name. */
const CHECK_MS = 1_000;

export type AgentFacts = Omit<AgentState, "pid" | "startTime">;

export class AgentSegment implements Disposable {
  #facts: AgentFacts;
  #shm: SharedMemory;
  #words: Int32Array;
  readonly #timer: NodeJS.Timeout;

  /** @throws IpcError */
  constructor(facts: AgentFacts) {
    this.#facts = facts;
    this.#shm = create();
    this.#words = new Int32Array(this.#shm.buffer);
    this.#write();
    this.#timer = setInterval(() => this.#check(), CHECK_MS).unref();
  }

  get facts(): AgentFacts {
    return this.#facts;
  }

  update(changes: Partial<AgentFacts>): void {
    this.#facts = { ...this.#facts, ...changes };
    this.#write();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    if (isNamed(this.#shm)) this.#shm.unlink();
    this.#shm.close();
  }

  #check(): void {
    if (isNamed(this.#shm)) return;
    const before = this.#shm;
    try {
      this.#shm = create();
    } catch {
      return; // no room, say: a later look tries again
    }
    this.#words = new Int32Array(this.#shm.buffer);
    before.close();
    this.#write();
  }

  #write(): void {
    const identity = processIdentity() ?? { pid: process.pid, startTime: 0 };
    const text = Buffer.from(JSON.stringify({ ...identity, ...this.#facts }));
    const sequence = Atomics.load(this.#words, AGENT_WORDS.sequence);
    Atomics.store(this.#words, AGENT_WORDS.sequence, sequence | 1);
    const start = AGENT_WORDS.text * Int32Array.BYTES_PER_ELEMENT;
    new Uint8Array(this.#shm.buffer).set(text, start);
    Atomics.store(this.#words, AGENT_WORDS.length, text.length);
    Atomics.store(this.#words, AGENT_WORDS.version, AGENT_LAYOUT_VERSION);
    Atomics.store(this.#words, AGENT_WORDS.magic, AGENT_MAGIC);
    Atomics.store(this.#words, AGENT_WORDS.sequence, ((sequence | 1) + 1) | 0);
  }
}

function create(): SharedMemory {
  const uid = process.geteuid?.() ?? 0;
  const name = `/ptalk-agent-${uid}.${randomBytes(RANDOM_BYTES).toString("hex")}`;
  const shm = SharedMemory.create(name, { size: AGENT_BYTES, mode: MODE });
  roster(shm).claimFirst();
  return shm;
}

const roster = (shm: SharedMemory): LivenessLocks => new LivenessLocks(fdOf(shm), 1);
const isNamed = (shm: SharedMemory): boolean => roster(shm).isNamed(shm.name);
