// The directory that many servers share, in a server's primary: it takes part for all workers (shared-directory.ts), and keeps the table in
// shared memory that they and every program of the machine read (shm/). Workers ask it for changes (hosted-directory.ts).
import { randomBytes } from "node:crypto";
import { rename } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { TalkError } from "../../base/errors.ts";
import type {
  Claim,
  ConnectionPlace,
  DirectoryConfig,
  DirectoryEvent,
  DirectoryHost,
  HostAnswer,
  HostOptions,
  HostRequest,
  OpenOptions,
  ServerIdentity,
} from "../directory.ts";

import { DirectoryError } from "../directory-error.ts";
import { HostedDirectory } from "../hosted-directory.ts";
import type { NameLine } from "../name-ownership.ts";
import { readNameLog } from "../shm/name-log.ts";
import type { ShmDirectory } from "../shm/shm-directory.ts";
import { hostShm, type ShmHost } from "../shm/shm-host.ts";
import { systemClock } from "./clock.ts";
import { type Engine, EngineError } from "./engine.ts";
import { Keys } from "./keys.ts";
import { RealmError, SharedDirectory } from "./shared-directory.ts";

export interface EtcdHostOptions extends HostOptions, ServerIdentity {
  readonly engine: Engine;
  /** For messages: where the engine is. */
  readonly members: readonly string[];
  /** Begins all keys. */
  readonly prefix: string;
  /** Empty: none. */
  readonly realm: string;
}

/** Of an incarnation: no other has it. */
const INCARNATION_BYTES = 9;
/** Ms in which the engine has to answer when the server starts. */
const START_MS = 10_000;
const START_RETRY_MS = 300;
/** Clients of a dead worker that are removed at a time. */
const ORPHANS = 64;
const ORPHAN_RETRY_MS = 1_000;
/** Names of the server's own log that are written at a time: some batches. */
const ADOPTED = 256;
/** Of that log, when the shared directory has its names. */
const ADOPTED_SUFFIX = ".shared";
/** Names that a line of the log shows. */
const SHOWN_NAMES = 10;

export class EtcdHost implements DirectoryHost {
  readonly #options: EtcdHostOptions;
  readonly #shm: ShmHost;
  readonly #table: ShmDirectory;
  readonly #shared: SharedDirectory;
  #closed = false;

  constructor(options: EtcdHostOptions) {
    this.#options = options;
    const {
      engine,
      prefix,
      server,
      directoryId,
      facts = {},
      realm,
      nameLimit,
      log,
      onEvents,
      onReplaced,
      onAway,
    } = options;
    // Whose the names are, the engine keeps. What the workers read goes with the server.
    const local = { ...options, names: null, predecessor: null };
    const onRestored = async () => {
      await this.#table.reopen(this.#shm.config);
      await options.onRestored();
    };
    this.#shm = hostShm({ ...local, onRestored, removeOrphans: (worker) => this.#removeOrphans(worker) });
    this.#table = this.#shm.open({ log, publish: () => {} });
    this.#shared = new SharedDirectory({
      engine,
      keys: new Keys(prefix),
      server,
      id: directoryId,
      facts,
      realm,
      nameLimit,
      log,
      clock: systemClock,
      table: this.#table,
      newIncarnation: () => randomBytes(INCARNATION_BYTES).toString("base64url"),
      onEvents,
      onReplaced: (place, claimId) => onReplaced?.(place, claimId),
      onAway: (isAway) => onAway?.(isAway),
    });
  }

  get config(): DirectoryConfig {
    return { ...this.#shm.config, hosted: { isAway: this.#shared.isAway } };
  }
  get directoryId(): string {
    return this.#shared.id;
  }
  get count(): number {
    return this.#shm.count;
  }
  get capacity(): number {
    return this.#shm.capacity;
  }

  /** @throws TalkError unreachable: the engine does not answer; refused: its servers state another realm */
  async start(): Promise<void> {
    let until = performance.now() + START_MS;
    for (;;) {
      const begun = performance.now();
      try {
        await this.#shared.start();
        await this.#adoptNames();
        return;
      } catch (error) {
        if (error instanceof RealmError) throw this.#otherRealm(error);
        if (!(error instanceof EngineError) || this.#closed) throw error;
        // A large directory takes its time: an engine that has answered for so long is there.
        if (performance.now() - begun > START_MS / 2) until = performance.now() + START_MS;
        if (performance.now() >= until) throw this.#unreachable(error);
        await sleep(START_RETRY_MS);
      }
    }
  }

  /** The names that the server's own log has go into the shared directory, once: the log is put aside then. */
  async #adoptNames(): Promise<void> {
    const { names: path, log } = this.#options;
    const lines = path === null ? [] : await readNameLog(path);
    if (path === null || lines.length === 0) return;
    const others: string[] = [];
    let full = 0;
    try {
      for (let i = 0; i < lines.length; i += ADOPTED) {
        const some = lines.slice(i, i + ADOPTED);
        const outcomes = await Promise.all(some.map((line) => this.#shared.adopt(line)));
        for (const [n, outcome] of outcomes.entries()) {
          if (outcome === "other") others.push((some[n] as NameLine).folded);
          else if (outcome === "full") full++;
        }
      }
    } catch (error) {
      if (!(error instanceof DirectoryError)) throw error;
      log.warn("names of the state directory wait for the next start: the shared directory does not take them", {
        error,
      });
      return;
    }
    const kept = `${path}${ADOPTED_SUFFIX}`;
    await rename(path, kept);
    log.warn("the shared directory has the names of the state directory now", {
      ...{ names: lines.length - others.length - full, kept },
      ...(full > 0 ? { withoutRoom: full } : {}),
      ...(others.length > 0 ? { ofOtherKeys: others.length, first: others.slice(0, SHOWN_NAMES).join(" ") } : {}),
    });
  }

  #unreachable(error: EngineError): TalkError {
    const where = this.#options.members.join(", ");
    return new TalkError("unreachable", `the directory at etcd://${where} cannot be had: ${error.message}`, {
      cause: error,
    });
  }

  #otherRealm({ realm: stated }: RealmError): TalkError {
    const { realm, prefix } = this.#options;
    const [theirs, ours] = [stated, realm].map((name) =>
      name === "" ? "no realm" : `the realm ${JSON.stringify(name)}`,
    );
    return TalkError.refused(
      `the servers of the directory ${prefix} state ${theirs}, and this one ${ours}: all have to state the same (--realm)`,
    );
  }

  placeOf(name: string, claimId: string): ConnectionPlace | null {
    return this.#shared.placeOf(name, claimId);
  }
  serverOf(folded: string): string | null {
    return this.#shared.serverOf(folded);
  }
  others(): ReadonlyMap<string, Readonly<Record<string, unknown>>> {
    return this.#shared.others();
  }

  open(options: OpenOptions): HostedDirectory {
    return new HostedDirectory(this.#shm.open(options), (request) => this.answer(request), this.#shared.isAway);
  }

  observe(worker: number, events: readonly DirectoryEvent[]): void {
    this.#shm.observe(worker, events);
  }
  workerDied(worker: number): void {
    this.#shm.workerDied(worker);
  }

  stats(): Readonly<Record<string, number>> {
    return { ...this.#shm.stats(), ...this.#shared.stats() };
  }

  async answer(request: HostRequest): Promise<HostAnswer> {
    try {
      return { is: "done", ...(await this.#make(request)) };
    } catch (error) {
      if (error instanceof DirectoryError) {
        const { code, message, holder, isRefusal } = error;
        return { is: "refused", code, message, holder, isRefusal };
      }
      this.#options.log.warn("a request could not be answered", { op: request.op, error });
      return { is: "refused", code: "try-again", message: "the server has failed", holder: null, isRefusal: false };
    }
  }

  /** Its clients are gone for the other servers at once. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#shared.close();
    this.#options.engine.close();
    this.#table.close();
    await this.#shm.close();
  }

  async #make(request: HostRequest): Promise<Omit<Extract<HostAnswer, { is: "done" }>, "is">> {
    const shared = this.#shared;
    switch (request.op) {
      case "register":
        return shared.register(request.request, request.live);
      case "update":
        return shared.update(request.claim, request.changes);
      case "remove": {
        const event = await shared.remove(request.claim);
        return typeof event === "string" ? { was: event === "gone" } : { was: true, event };
      }
      case "bind":
        await shared.bind(request.name, request.key, request.right);
        return {};
      case "release":
        return { was: await shared.release(request.name) };
      case "ask":
        await shared.ask(request.name);
        return {};
    }
  }

  /** Takes out the clients of a worker that has died. */
  async #removeOrphans(worker: number): Promise<void> {
    const claims = this.#shared.heldBy(worker);
    for (let i = 0; i < claims.length; i += ORPHANS) {
      await Promise.all(claims.slice(i, i + ORPHANS).map((claim) => this.#removeForSure(claim)));
    }
  }

  async #removeForSure(claim: Claim): Promise<void> {
    while (!this.#closed) {
      try {
        const event = await this.#shared.remove(claim);
        if (typeof event !== "string") this.#options.onEvents([event]);
        return;
      } catch (error) {
        if (!(error instanceof DirectoryError)) throw error;
        await sleep(ORPHAN_RETRY_MS, undefined, { ref: false });
      }
    }
  }
}
