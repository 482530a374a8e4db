// The accounts of this host, nss(5). NSS may hang for as long as a directory server is away: a process of its own asks
// it, and the server waits with a bound. Each service of the "passwd:" line is asked alone. A user exists when one says
// yes; no such user needs a no of all of them; everything else is unknown.
import { type ChildProcess, fork } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { withTimeout } from "../base/async.ts";
import type { Log } from "./log.ts";
import { MessageBatcher } from "./message-batcher.ts";
import { NSS_UP, type NssAnswer, type NssQuestion } from "./nss-questions.ts";

export type Account =
  | { readonly is: "yes"; readonly uid: number; readonly login: string }
  | { readonly is: "no" }
  | { readonly is: "unknown" };

const NO: Account = { is: "no" };
const UNKNOWN: Account = { is: "unknown" };

/** Ms that a question may take, all services together. */
const QUESTION_MS = 2_000;
/** Ms that the process which asks may take to begin; a client waits ten seconds for its answer. */
const START_MS = 7_000;
/** Ms that a service which hung is not asked again: each question would wait as long. */
const HUNG_MS = 5_000;
/** Ms that answers count. A new account is to be seen soon, and one that is there stays as a rule. */
const YES_MS = 60_000;
const NO_MS = 5_000;
/** Answers that are kept; the oldest go. */
const MAX_KEPT = 8_192;
/** Without the file, or without the line in it, glibc asks this service. */
const DEFAULT_SERVICES = ["files"];

export interface UserDatabaseOptions {
  readonly log: Log;
  /** nsswitch.conf(5) */
  readonly switchFile?: string;
  /** For the process that asks. */
  readonly env?: NodeJS.ProcessEnv;
}

interface Waiting {
  readonly settle: (answer: NssAnswer | null) => void;
  readonly timer: NodeJS.Timeout;
}

export class UserDatabase {
  readonly #log: Log;
  readonly #switchFile: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #kept = new Map<string | number, { account: Account; until: number }>();
  readonly #asking = new Map<string | number, Promise<Account>>();
  readonly #waiting = new Map<number, Waiting>();
  readonly #hungUntil = new Map<string, number>();
  readonly #batcher = new MessageBatcher<NssQuestion>((questions, left) => this.#write(questions, left));
  #child: ChildProcess | null = null;
  /** Of that process: whether it has begun; false when it has ended first. */
  #up: Promise<boolean> = Promise.resolve(false);
  #lastId = 0;
  #closed = false;
  /** Of the "passwd:" line, for the present turn of the event loop. */
  #services: readonly string[] | null = null;

  constructor({ log, switchFile = "/etc/nsswitch.conf", env = process.env }: UserDatabaseOptions) {
    this.#log = log;
    this.#switchFile = switchFile;
    this.#env = env;
  }

  /** Starts the process that asks, so that the first question need not wait for it. */
  start(): void {
    if (this.#child === null && !this.#closed) this.#child = this.#fork();
  }

  /** The time of a question begins when there is somebody to ask: on a busy host a process takes its time. */
  #whenUp(): Promise<boolean> {
    this.start();
    if (this.#closed) return Promise.resolve(false);
    return withTimeout(START_MS, this.#up, false);
  }

  /**
   * Never throws, and takes about two seconds at most.
   * @param user login or uid
   * @param isAnew an earlier answer does not count
   */
  find(user: string | number, isAnew = false): Promise<Account> {
    const kept = isAnew ? undefined : this.#kept.get(user);
    if (kept !== undefined && kept.until > performance.now()) return Promise.resolve(kept.account);
    const asked = this.#asking.get(user) ?? this.#ask(user).finally(() => this.#asking.delete(user));
    this.#asking.set(user, asked);
    return asked;
  }

  close(): void {
    this.#closed = true;
    this.#endChild();
  }

  async #ask(user: string | number): Promise<Account> {
    if (!(await this.#whenUp())) return UNKNOWN;
    const deadline = performance.now() + QUESTION_MS;
    let account = NO;
    for (const service of this.#readServices()) {
      const answer = await this.#askService(service, user, deadline);
      if (answer?.is === "yes") {
        account = { is: "yes", uid: answer.uid, login: answer.login };
        break;
      }
      if (answer?.is !== "no") account = UNKNOWN;
    }
    this.#keep(user, account);
    return account;
  }

  /** @returns null when the service did not answer, or did not just now */
  #askService(service: string, user: string | number, deadline: number): Promise<NssAnswer | null> {
    const now = performance.now();
    if (this.#closed || (this.#hungUntil.get(service) ?? 0) > now || now >= deadline) return Promise.resolve(null);
    return new Promise((resolve) => {
      const id = ++this.#lastId;
      const timer = setTimeout(() => this.#onHung(service), deadline - now);
      this.#waiting.set(id, { settle: resolve, timer });
      this.#batcher.send({ id, service, user }, () => {});
    });
  }

  #write(questions: readonly NssQuestion[], left: () => void): void {
    this.start(); // a question before these may have ended it
    this.#child?.send([...questions], (error) => {
      if (error !== null) for (const { id } of questions) this.#settle(id, null);
      left();
    });
  }

  #onHung(service: string): void {
    this.#hungUntil.set(service, performance.now() + HUNG_MS);
    this.#log.warn("the user database does not answer", { service });
    this.#endChild(); // whatever waits behind this question goes unanswered too
  }

  #settle(id: number, answer: NssAnswer | null): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    waiting.settle(answer);
  }

  #fork(): ChildProcess {
    const child = fork(program(), [], {
      execArgv: [],
      env: this.#env,
      cwd: "/",
      serialization: "json",
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    });
    this.#up = new Promise((resolve) => {
      child.once("exit", () => resolve(false)).once("error", () => resolve(false));
      child.on("message", (answers: readonly NssAnswer[] | typeof NSS_UP) => {
        if (answers === NSS_UP) resolve(true);
        else for (const answer of answers) this.#settle(answer.id, answer);
      });
    });
    const gone = (): void => {
      if (this.#child === child) this.#endChild();
    };
    child.once("error", gone);
    child.once("exit", gone);
    child.unref();
    child.channel?.unref();
    return child;
  }

  #endChild(): void {
    this.#child?.kill("SIGKILL");
    this.#child = null;
    for (const id of [...this.#waiting.keys()]) this.#settle(id, null);
  }

  #keep(user: string | number, account: Account): void {
    this.#kept.delete(user);
    if (account.is === "unknown") return;
    if (this.#kept.size >= MAX_KEPT) this.#kept.delete(this.#kept.keys().next().value as string | number);
    this.#kept.set(user, { account, until: performance.now() + (account.is === "yes" ? YES_MS : NO_MS) });
  }

  /** Read anew for the questions of each turn: it is a small file, and the answers are kept. */
  #readServices(): readonly string[] {
    if (this.#services !== null) return this.#services;
    let text = "";
    try {
      text = readFileSync(this.#switchFile, "utf8");
    } catch {
      // Without the file as without the line.
    }
    this.#services = passwdServices(text);
    setImmediate(() => {
      this.#services = null;
    });
    return this.#services;
  }
}

/** The services of the "passwd:" line. What to do after which answer ("[NOTFOUND=return]") is for programs that ask them together. */
export function passwdServices(text: string): readonly string[] {
  const line = /^\s*passwd:(.*)$/m
    .exec(text)?.[1]
    ?.replace(/#.*/, "")
    .replace(/\[[^\]]*\]/g, " ");
  const services = line?.split(/\s+/).filter((word) => /^[a-z0-9_]+$/i.test(word)) ?? [];
  return services.length > 0 ? services : DEFAULT_SERVICES;
}

/** Compiled, as it is published; the tests run the sources of everything else. */
function program(): string {
  const here = import.meta.url;
  return fileURLToPath(new URL(here.endsWith(".ts") ? "../../dist/server/nss-main.js" : "./nss-main.js", here));
}
