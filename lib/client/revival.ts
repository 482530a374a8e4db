// The way back when the default server has died, however it died: a remaining client starts the next one.
//
//  1. A client that finds no server at the address probes it, waits for a time that differs by user, and probes again.
//  2. One client of each user goes on: the others of that user see its lock, and wait. Root waits longest, so that the
//     server is root's only if no other user is left.
//  3. It starts a server, and names the dead server's table: the new server reads there who owned which name.
//  4. Several users may start one at once. The port decides, and the others end.
import { createHash } from "node:crypto";
import { sleep } from "../base/async.ts";
import type { ServerAddress } from "../base/server-address.ts";
import { isServiceAt } from "../base/service.ts";
import { findLiveServer } from "../directory/live-server.ts";
import { answers, type Started, startServer } from "./embedded-server.ts";

/**
 * The longest pause before an attempt, in ms. It is random, but the same for all clients of a user: so one user's are first by some margin,
 * and the others find that user's server at their second probe instead of starting their own beside it.
 */
const SPREAD_MS = 800;
/** Ms that root waits for others to do it. */
const ROOT_WAITS_MS = 2_000;
/** Ms after which a lock no longer counts: its holder is stopped, or its attempt fails. */
const TURN_MS = 3_000;
/** Ms that a server has until it answers or ends. */
const START_MS = 5_000;
const PROBE_EVERY_MS = 25;
/** Between two attempts that failed: a host that has run out of something gets time. */
const RETRY = { firstMs: 500, maxMs: 10_000 };
const ROOT = 0;

export interface RevivalOptions {
  readonly address: ServerAddress;
  readonly stateDir: string;
  /**
   * Takes this user's turn at starting the server on that port. Returns a function that gives it back; null while
   * another process has the turn.
   */
  readonly takeTurn: (port: number) => (() => void) | null;
}

export class Revival {
  readonly #options: RevivalOptions;
  /** Table of the server that this client is at, or was. */
  #table: string | null = null;
  #failures = 0;
  #notBefore = 0;
  /** Since when another process of this user has the turn. */
  #waitsSince: number | null = null;

  constructor(options: RevivalOptions) {
    this.#options = options;
  }

  /** The server answers: notes which one it is. */
  noteServer(): void {
    this.#table = findLiveServer(this.#options.address)?.name ?? this.#table;
    this.#waitsSince = null;
    this.#failures = 0;
  }

  /** Does what this client has to do so that there is a server again. Returns at once where that is nothing. @throws the signal's reason */
  async revive(signal: AbortSignal): Promise<void> {
    const { address, takeTurn } = this.#options;
    // Where the host has a service, that is the server: its restart is the service manager's business.
    if (performance.now() < this.#notBefore || isServiceAt(address) || (await answers(address))) return;
    await sleep(this.#pauseMs(), signal);
    if (await answers(address)) return;
    const giveBack = takeTurn(address.port);
    if (giveBack === null) {
      this.#waitsSince ??= performance.now();
      if (performance.now() - this.#waitsSince < TURN_MS) return;
    }
    try {
      await this.#start(signal);
    } finally {
      giveBack?.();
    }
  }

  #pauseMs(): number {
    const uid = process.geteuid?.() ?? ROOT;
    const share = createHash("sha256").update(`${uid} ${this.#table}`).digest().readUInt32LE() / 2 ** 32;
    return share * SPREAD_MS + (uid === ROOT ? ROOT_WAITS_MS : 0);
  }

  async #start(signal: AbortSignal): Promise<void> {
    const { address, stateDir } = this.#options;
    let started: Started | null = null;
    try {
      started = startServer(address, stateDir, this.#table);
    } catch {
      // No descriptor, no process: another client may have more.
    }
    const deadline = performance.now() + START_MS;
    while (started !== null && started.end === undefined && performance.now() < deadline) {
      await sleep(PROBE_EVERY_MS, signal);
      if (await answers(address)) return;
    }
    this.#notBefore = performance.now() + Math.min(RETRY.firstMs * 2 ** this.#failures++, RETRY.maxMs);
  }
}
