// What everybody wrote down during a run: one JSON object a line, one file for each writer. The drivers write what the programs
// say and what is done to them; the checker reads nothing else. Times are milliseconds since the run began, of one clock.
import { appendFileSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** "racer": wants a name that others want at the same moment. */
export type ProgramKind = "serve" | "talk" | "lib" | "recv" | "send" | "racer";

/** What was observed. `run` numbers the programs of a whole run: each start has a new one. */
export type Fact =
  | { readonly type: "start"; readonly run: number; readonly program: ProgramKind; readonly pid: number }
  /** Registered, or serving. */
  | { readonly type: "on"; readonly run: number; readonly fingerprint: string; readonly port: number }
  /** The driver is about to kill it, to ask it to leave, or to have another program take its name over. */
  | { readonly type: "ending"; readonly run: number; readonly how: "killed" | "left" | "replaced" }
  /** It has ended, and all that it said was read. */
  | {
      readonly type: "end";
      readonly run: number;
      readonly how: "killed" | "left" | "replaced" | "itself";
      readonly code: number | null;
      readonly signal: string | null;
      readonly told: string;
    }
  /** It was asked to leave, or should have ended by itself, and did not for as long as the watchdog waits. */
  | { readonly type: "hang"; readonly run: number; readonly what: string }
  | {
      readonly type: "order";
      readonly run: number;
      readonly token: string;
      readonly to: string;
      readonly timeoutMs: number;
      /** Given when everything had been mended for SETTLE_MS: it must be delivered. */
      readonly rollCall: boolean;
    }
  | { readonly type: "sent"; readonly run: number; readonly token: string; readonly id: string }
  | {
      readonly type: "outcome";
      readonly run: number;
      readonly token: string;
      readonly id: string | null;
      readonly state: "delivered" | "failed" | "unconfirmed";
      readonly code: string | null;
    }
  | {
      readonly type: "got";
      readonly run: number;
      readonly from: string;
      readonly id: string;
      /** null: the text has none. */
      readonly token: string | null;
      /** The text is, to the last byte, what the token stands for. */
      readonly whole: boolean;
      readonly verified: boolean;
      readonly fingerprint: string;
    }
  | { readonly type: "error"; readonly run: number; readonly code: string; readonly message: string }
  | {
      readonly type: "fault";
      readonly fault: number;
      readonly kind: string;
      readonly target: string;
      /** Whom it may hinder, beside the target. */
      readonly hits?: readonly string[];
    }
  | { readonly type: "mended"; readonly fault: number }
  /** Sums over the processes of a role, at a quiet moment. */
  | {
      readonly type: "sample";
      readonly role: string;
      readonly pids: readonly number[];
      readonly descriptors: number;
      readonly residentBytes: number;
    }
  | {
      readonly type: "rest";
      readonly role: string;
      readonly pid: number;
      readonly cpuMs: number;
      readonly wallMs: number;
    }
  | {
      readonly type: "people";
      /** Of several. */
      readonly server?: string;
      /** Its members, as the server says. */
      readonly room?: string;
      readonly expected: readonly string[];
      readonly listed: readonly string[];
    }
  /** A server was killed, or its cable was pulled, while nothing else happened: so long it took until all of its clients were on at others; who was not by then. */
  | {
      readonly type: "back";
      readonly server: string;
      readonly how: "primary" | "cable";
      readonly clients: number;
      readonly ms: number;
      readonly missing: readonly string[];
    }
  /** A racer has its name: the server has said so. */
  | { readonly type: "owns"; readonly run: number; readonly name: string; readonly fingerprint: string }
  /** The rooms that a client is in now, as it says. */
  | { readonly type: "rooms"; readonly run: number; readonly rooms: readonly string[] }
  /** What the engine's history says, of a row: written by whom, or removed (no fingerprint). */
  | {
      readonly type: "row";
      readonly revision: number;
      readonly name: string;
      readonly fingerprint: string | null;
      readonly server: string;
      readonly incarnation: string;
      readonly claimId: string;
    }
  /** And of a server's key: it is there, or gone. */
  | {
      readonly type: "lease";
      readonly revision: number;
      readonly server: string;
      readonly incarnation: string;
      readonly isThere: boolean;
    }
  /** A server has answered LOOKUP: with that key, or "nobody" (null). */
  | {
      readonly type: "seen";
      readonly server: string;
      readonly name: string;
      readonly asked: number;
      readonly fingerprint: string | null;
      readonly isStale: boolean;
    }
  | { readonly type: "left-behind"; readonly files: readonly string[] }
  | { readonly type: "planted"; readonly plant: string };

export type Entry = Fact & { readonly at: number; readonly who: string };
export type Of<T extends Fact["type"]> = Entry & Extract<Fact, { type: T }>;

export const isA =
  <T extends Fact["type"]>(type: T) =>
  (entry: Entry): entry is Of<T> =>
    entry.type === type;

const SUFFIX = ".jsonl";

export class Journal {
  readonly #dir: string;
  readonly #startedAt = performance.now();
  readonly entries: Entry[] = [];

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Milliseconds since the run began. */
  get now(): number {
    return Math.round((performance.now() - this.#startedAt) * 1000) / 1000;
  }

  write(who: string, fact: Fact): void {
    const entry: Entry = { at: this.now, who, ...fact };
    this.entries.push(entry);
    appendFileSync(join(this.#dir, `${who}${SUFFIX}`), `${JSON.stringify(entry)}\n`);
  }
}

/** All journals of a folder, in the order of time. */
export function readJournals(dir: string): Entry[] {
  const files = readdirSync(dir).filter((file) => file.endsWith(SUFFIX));
  const lines = files.flatMap((file) => readFileSync(join(dir, file), "utf8").split("\n"));
  const entries = lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Entry);
  return entries.sort((a, b) => a.at - b.at);
}
