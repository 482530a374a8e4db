// This client's row in the local table: what List shows of it. A machine whose local table cannot be used (another user
// has taken its names, it is full) costs the client its listing there, nothing else. When the table's objects are removed from
// outside, the client joins their successor.
import { readlinkSync } from "node:fs";
import { isatty } from "node:tty";
import { withoutZone } from "../base/endpoint.ts";
import { IpcError } from "../ipc/error.ts";
import type { LocalFields } from "./local-entry.ts";
import { LocalTable } from "./local-table.ts";

const STANDARD_STREAMS = [0, 1, 2];
/** Milliseconds by which the counts of messages may lag behind: too few to be seen by a person. */
const UPDATE_MS = 20;
/** Milliseconds between two looks at the table's names: a client whose objects were removed is listed again within two seconds. */
const CHECK_MS = 1_000;
/** Looks between two attempts to join a table that is full, or in other hands: each takes a system call a row. */
const LOOKS_PER_ATTEMPT = 10;

/** A program with a thousand clients says it once, not a thousand times. */
let isWarned = false;

export class LocalPresence {
  #table: LocalTable | undefined;
  #row: LocalFields;
  readonly #key: Uint8Array | undefined;
  #lastMessageAt: number | null = null;
  #sent = 0;
  #received = 0;
  #timer: NodeJS.Timeout | undefined;
  readonly #checkTimer: NodeJS.Timeout;
  #looks = 0;

  private constructor(row: LocalFields, key: Uint8Array | undefined) {
    this.#row = row;
    this.#key = key;
    this.#checkTimer = setInterval(() => this.#check(), CHECK_MS).unref();
    this.#join();
  }

  /** @param key the public key that this client uses */
  static join(who: Pick<LocalFields, "name" | "server" | "address" | "port">, key?: Uint8Array): LocalPresence {
    const { name, server, address, port } = who;
    const fresh = { tty: ownTerminal(), startedAt: Date.now(), lastMessageAt: null, sent: 0, received: 0 };
    return new LocalPresence({ name, server, address: withoutZone(address), port, ...fresh }, key);
  }

  /** One more message was delivered. */
  sent(): void {
    this.#sent++;
    this.#updateSoon();
  }

  /** One more message was handed over. */
  received(): void {
    this.#received++;
    this.#updateSoon();
  }

  moved({ server, address, port }: Pick<LocalFields, "server" | "address" | "port">): void {
    this.#change({ server, address: withoutZone(address), port });
  }

  /** See LocalTable. Without a table the processes do not know of each other: each has the turn. */
  takeTurn(what: number): (() => void) | null {
    return this.#table === undefined ? () => {} : this.#table.takeTurn(what);
  }

  /** Writes the counts now. */
  update(): void {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#change({ sent: this.#sent, received: this.#received, lastMessageAt: this.#lastMessageAt });
  }

  leave(): void {
    clearTimeout(this.#timer);
    this.#stopChecking();
    this.#table?.leave();
    this.#table = undefined; // what is delivered or handed over in the last moment is shown to nobody
  }

  #change(changes: Partial<LocalFields>): void {
    this.#row = { ...this.#row, ...changes };
    this.#table?.update(changes);
  }

  /** systemd's RemoveIPC unlinks the objects of a user at the last logout, while programs of that user go on (logind.conf(5)). */
  #check(): void {
    this.#looks++;
    try {
      if (this.#table?.isNamed) return;
      if (this.#table === undefined && this.#looks % LOOKS_PER_ATTEMPT !== 0) return;
      const before = this.#table;
      this.#table = undefined;
      // First: no reader sees that row any more, and its seat may be the one that is missing.
      before?.leave();
    } catch (error) {
      if (!(error instanceof IpcError)) throw error;
      return; // no descriptor is left to look with, say: a later look finds out
    }
    this.#join();
  }

  #join(): void {
    try {
      this.#table = LocalTable.join(this.#row, this.#key);
    } catch (error) {
      if (!(error instanceof IpcError)) throw error;
      // Each attempt would block this thread again, until the stopped process goes on.
      if (error.code === "ETIMEDOUT") this.#stopChecking();
      if (isWarned) return;
      isWarned = true;
      process.emitWarning(`this client is not shown by List on this machine: ${error.message}`, {
        code: "PTALK_NOT_LISTED",
      });
    }
  }

  #stopChecking(): void {
    clearInterval(this.#checkTimer);
  }

  /** A busy client does not write its row for each message. */
  #updateSoon(): void {
    this.#lastMessageAt = Date.now();
    this.#timer ??= setTimeout(() => this.update(), UPDATE_MS).unref();
  }
}

function ownTerminal(): string | null {
  const fd = STANDARD_STREAMS.find((stream) => isatty(stream));
  if (fd === undefined) return null;
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return null; // no /proc here
  }
}
