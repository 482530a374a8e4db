// The watchers of a run with many servers, from outside: the engine's history, as etcd's own client tells it, and a connection to each
// server that asks it for names all the time. Both write down what they were told, and judge nothing.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "node:tls";
import { fingerprint } from "../../lib/crypto/fingerprint.ts";
import { decodeRow, Keys, type SharedRow } from "../../lib/directory/etcd/keys.ts";
import type { RespValue } from "../../lib/wire/resp-reply.ts";
import { Client } from "../helpers/lookup-server.ts";
import type { Random } from "../helpers/random.ts";
import type { Journal } from "./journal.ts";

/** Between two questions to a server. */
const ASK_EVERY_MS = 100;
/** Until a lookout that has lost its server tries again. */
const RETRY_MS = 200;
/** A server that does not answer in this time is asked anew, on another connection: the kernel is slow to try a dead one again. */
const ANSWER_MS = 5_000;
/** Beyond what the history takes to follow. */
const WATCHDOG_MS = 30_000;

/** Of a server's name in the directory, "HOST:PORT". */
const hostOf = (server: string): string => server.replace(/:\d+$/, "");
const keyOf = (key: string): string => fingerprint(Buffer.from(key, "base64"));

/** What etcdctl prints of a watch. */
interface Told {
  readonly Header: { readonly revision: number };
  readonly Events:
    | readonly {
        readonly type?: number;
        readonly kv: { readonly key: string; readonly mod_revision: number; readonly value?: string };
      }[]
    | null;
}

/** Follows all changes from the first revision on. */
export class EngineHistory {
  /** All up to this one is in the journal. */
  revision = 0;
  /** The last one that a server has written. */
  row: SharedRow | null = null;
  readonly #journal: Journal;
  readonly #keys: Keys;
  readonly #members: readonly string[];
  readonly #serverOf = new Map<string, string>();
  #child: ChildProcess | undefined;
  #over = false;

  constructor(journal: Journal, prefix: string, members: readonly string[]) {
    this.#journal = journal;
    this.#keys = new Keys(prefix);
    this.#members = members;
  }

  /** Names with a row that a server has written. */
  namesAt(server: string): string[] {
    return [...this.#serverOf].filter(([, at]) => at === server).map(([name]) => name);
  }

  /** Follows until end(). */
  async follow(): Promise<void> {
    while (!this.#over) {
      const words = ["watch", "--prefix", "-w", "json", "--rev", String(this.revision + 1), this.#keys.prefix];
      const env = { PATH: process.env["PATH"] ?? "", ETCDCTL_API: "3" };
      const child = spawn("etcdctl", ["--endpoints", this.#members.join(","), ...words], {
        stdio: ["ignore", "pipe", "ignore"],
        env,
      });
      this.#child = child;
      createInterface({ input: child.stdout }).on("line", (line) => this.#note(JSON.parse(line) as Told));
      await once(child, "close");
      await sleep(RETRY_MS);
    }
  }

  /** Resolves when all that the engine has up to that revision is in the journal, or too late. */
  async until(revision: number): Promise<void> {
    const end = performance.now() + WATCHDOG_MS;
    while (this.revision < revision && performance.now() < end) await sleep(RETRY_MS);
  }

  end(): void {
    this.#over = true;
    this.#child?.kill("SIGKILL");
  }

  #note({ Events }: Told): void {
    for (const { type, kv } of Events ?? []) {
      const key = Buffer.from(kv.key, "base64").toString();
      const revision = kv.mod_revision;
      const isThere = type !== 1;
      const meaning = this.#keys.meaningOf(key);
      if (meaning?.kind === "server") {
        const { server, incarnation } = meaning;
        this.#journal.write("engine", {
          ...{ type: "lease", revision, server: hostOf(server), incarnation, isThere },
        });
      } else if (meaning?.kind === "row") {
        const row = isThere ? decodeRow(Buffer.from(kv.value ?? "", "base64")) : null;
        const { server = "", incarnation = "", claimId = "" } = row ?? {};
        if (row === null) this.#serverOf.delete(meaning.folded);
        else this.#serverOf.set(meaning.folded, hostOf(server));
        this.row = row ?? this.row;
        this.#journal.write("engine", {
          ...{ type: "row", revision, name: meaning.folded, fingerprint: row === null ? null : keyOf(row.packed.key) },
          ...{ server: hostOf(server), incarnation, claimId },
        });
      }
      this.revision = Math.max(this.revision, revision);
    }
  }
}

/** A connection to one server, or the next one. */
export class Lookout {
  readonly #journal: Journal;
  readonly #server: string;
  readonly #address: string;
  readonly #port: number;
  #client: Client | null = null;
  #over = false;
  /** So many of the next answers are written down as "nobody": a planted fault. */
  lies = 0;

  /** @param server its name in the journal */
  constructor(journal: Journal, server: string, address: string, port: number) {
    this.#journal = journal;
    this.#server = server;
    this.#address = address;
    this.#port = port;
  }

  /** Asks for one of those names after the other until end(). */
  async watch(names: readonly string[], random: Random): Promise<void> {
    while (!this.#over) {
      const name = random.pick(names);
      const asked = this.#journal.now;
      const answer = await this.#ask("LOOKUP", name);
      this.#note(name, asked, answer);
      await sleep(answer === undefined ? RETRY_MS : ASK_EVERY_MS);
    }
  }

  /** Names that it lists: of all, or of a room. */
  async list(room?: string): Promise<string[]> {
    const answer = await (room === undefined ? this.#ask("ALL") : this.#ask("MEMBERS", room));
    if (!Array.isArray(answer)) return [`(${this.#server} says ${answer})`];
    return answer.map((entry) => String(entry instanceof Map ? entry.get("name") : entry));
  }

  end(): void {
    this.#over = true;
    this.#client?.socket.destroy();
  }

  #note(name: string, asked: number, answer: RespValue | undefined): void {
    const isEntry = answer instanceof Map;
    if (!isEntry && answer !== null) return; // -TRYAGAIN, or none
    const isLie = this.lies > 0 && isEntry;
    if (isLie) this.lies--;
    this.#journal.write("lookout", {
      ...{ type: "seen", server: this.#server, name, asked },
      fingerprint: isEntry && !isLie ? keyOf(String(answer.get("key"))) : null,
      isStale: isEntry && answer.get("stale") === 1,
    });
  }

  /** Undefined: the server has not answered. */
  async #ask(...words: [string, ...string[]]): Promise<RespValue | undefined> {
    this.#client ??= await this.#connect();
    const client = this.#client;
    if (client === null) return undefined;
    const limit = AbortSignal.timeout(ANSWER_MS);
    const late = new Promise<undefined>((resolve) => limit.addEventListener("abort", () => resolve(undefined)));
    const answer = await Promise.race([client.tell(...words), client.closed.then(() => undefined), late]);
    if (answer === undefined) {
      client.socket.destroy();
      this.#client = null;
    }
    return answer;
  }

  async #connect(): Promise<Client | null> {
    const socket = connect({ host: this.#address, port: this.#port, rejectUnauthorized: false });
    socket.on("error", () => {});
    const isOpen = await Promise.race([
      once(socket, "secureConnect").then(() => true),
      once(socket, "close").then(() => false),
      sleep(ANSWER_MS, false),
    ]).catch(() => false);
    if (!isOpen) {
      socket.destroy();
      return null;
    }
    const client = new Client(socket);
    const greeted = await Promise.race([
      client.tell("HELLO", "3").then(() => true),
      client.closed.then(() => false),
      sleep(ANSWER_MS, false),
    ]);
    if (!greeted) socket.destroy();
    return greeted ? client : null;
  }
}
