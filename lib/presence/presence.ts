// This client's row in the local table: what List shows of it. A machine whose local table cannot be used (another user
// has taken its names, it is full) costs the client its listing there, nothing else.
import { readlinkSync } from "node:fs";
import { isatty } from "node:tty";
import { withoutZone } from "../base/endpoint.ts";
import { IpcError } from "../ipc/error.ts";
import type { LocalFields } from "./local-entry.ts";
import { LocalTable } from "./local-table.ts";

const STANDARD_STREAMS = [0, 1, 2];
/** Milliseconds by which the counts of messages may lag behind: too few to be seen by a person. */
const UPDATE_MS = 20;
/** Milliseconds between two looks at the user's objects, which another program may have removed. */
const LOOK_MS = 1_000;

export class LocalPresence {
  #table: LocalTable | undefined;
  #sent = 0;
  #received = 0;
  #lastMessageAt: number | null = null;
  #timer: NodeJS.Timeout | undefined;
  readonly #look: NodeJS.Timeout;

  private constructor(table: LocalTable | undefined) {
    this.#table = table;
    this.#look = setInterval(() => this.#joinAgainIfGone(), LOOK_MS).unref();
  }

  static join(who: Pick<LocalFields, "name" | "server" | "address" | "port">): LocalPresence {
    const { name, server, address, port } = who;
    const fresh = { tty: ownTerminal(), startedAt: Date.now(), lastMessageAt: null, sent: 0, received: 0 };
    try {
      return new LocalPresence(LocalTable.join({ name, server, address: withoutZone(address), port, ...fresh }));
    } catch (error) {
      if (!(error instanceof IpcError)) throw error;
      warnNotListed(error);
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
    clearInterval(this.#look);
    this.#table?.leave();
    this.#table = undefined; // what is delivered or handed over in the last moment is shown to nobody
  }

  /** systemd-logind removes a user's objects at the last logout (logind.conf(5), RemoveIPC), under clients that go on. */
  #joinAgainIfGone(): void {
    const table = this.#table;
    try {
      if (table === undefined || table.isNamed) return;
      this.#table = undefined;
      table.leave();
      this.#table = LocalTable.join(table.fields);
    } catch (error) {
      if (!(error instanceof IpcError)) throw error;
      clearInterval(this.#look); // said once
      warnNotListed(error);
    }
  }

  /** A busy client does not write its row for each message. */
  #updateSoon(): void {
    this.#lastMessageAt = Date.now();
    this.#timer ??= setTimeout(() => this.update(), UPDATE_MS).unref();
  }
}

function warnNotListed(error: IpcError): void {
  process.emitWarning(`this client is not shown by List on this machine: ${error.message}`, {
    code: "PTALK_NOT_LISTED",
  });
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
