// This client's row in the local table: what List shows of it. A machine whose local table cannot be used (another user
// has taken its names, it is full) costs the client its listing there, nothing else.
import { readlinkSync } from "node:fs";
import { isatty } from "node:tty";
import { IpcError } from "../ipc/error.ts";
import type { LocalFields } from "./local-entry.ts";
import { LocalTable } from "./local-table.ts";

const STANDARD_STREAMS = [0, 1, 2];
/** Milliseconds by which the counts of messages may lag behind: too few to be seen by a person. */
const UPDATE_MS = 20;

export class LocalPresence {
  #table: LocalTable | undefined;
  #sent = 0;
  #received = 0;
  #lastMessageAt: number | null = null;
  #timer: NodeJS.Timeout | undefined;

  private constructor(table: LocalTable | undefined) {
    this.#table = table;
  }

  static join(who: Pick<LocalFields, "name" | "server" | "address" | "port">): LocalPresence {
    const { name, server, address, port } = who;
    const fresh = { tty: ownTerminal(), startedAt: Date.now(), lastMessageAt: null, sent: 0, received: 0 };
    try {
      return new LocalPresence(LocalTable.join({ name, server, address: withoutZone(address), port, ...fresh }));
    } catch (error) {
      if (!(error instanceof IpcError)) throw error;
      process.emitWarning(`this client is not shown by List on this machine: ${error.message}`, {
        code: "PTALK_NOT_LISTED",
      });
      return new LocalPresence(undefined);
    }
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

  moved(address: string): void {
    this.#table?.update({ address: withoutZone(address) });
  }

  /** Writes the counts now. */
  update(): void {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#table?.update({ sent: this.#sent, received: this.#received, lastMessageAt: this.#lastMessageAt });
  }

  leave(): void {
    clearTimeout(this.#timer);
    this.#table?.leave();
    this.#table = undefined; // what is delivered or handed over in the last moment is shown to nobody
  }

  /** A busy client does not write its row for each message. */
  #updateSoon(): void {
    this.#lastMessageAt = Date.now();
    this.#timer ??= setTimeout(() => this.update(), UPDATE_MS).unref();
  }
}

// fe80::1%eth0: the zone is this machine's own business (RFC 4007 section 11).
const withoutZone = (address: string): string => address.split("%")[0] as string;

function ownTerminal(): string | null {
  const fd = STANDARD_STREAMS.find((stream) => isatty(stream));
  if (fd === undefined) return null;
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return null; // no /proc here
  }
}
