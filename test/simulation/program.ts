// A person's program in a simulated world: the client that is shipped, and what its user does.
import { setTimeout as sleep } from "node:timers/promises";
import { TalkError } from "../../lib/base/errors.ts";
import { TalkClient } from "../../lib/client/talk-client.ts";
import type { TalkMessage } from "../../lib/client/types.ts";
import type { Journal, Speaker } from "./journal.ts";
import type { Network } from "./network.ts";
import { Process } from "./world.ts";

export interface Person {
  readonly name: string;
  readonly stateDir: string;
  /** "HOST:PORT" in the order in which they are tried. */
  readonly servers: readonly string[];
  /** Of the machine that the person is at. */
  address: string;
  /** Number of the last program. */
  runs: number;
}

export interface ProgramOptions {
  /** It takes the name over from another program of the person. */
  readonly replace?: boolean;
  /** Default: the person's. */
  readonly servers?: readonly string[];
}

/** Ms in which a text is on the screen, at most, before the program says so; seldom more. */
const SHOWING_MS = 12;
const SHOWING_LONG_MS = 1_500;
/** Of texts that may have been shown: how many people send again, under the same id. */
const SENT_AGAIN = 0.6;

export class Program implements Speaker {
  readonly person: Person;
  readonly name: string;
  readonly run: number;
  readonly process: Process;
  client: TalkClient | null = null;
  /** Those who have left, as far as it has heard. */
  readonly gone = new Set<string>();
  /** From which it takes the name over. */
  before: Program | null = null;
  /** Why it could not begin, or has ended by itself. */
  error: Error | null = null;
  /** It is on, with that key. */
  onBegun: (fingerprint: string) => void = () => {};
  /** It could not begin, or has lost its name for good. */
  onEnded: (error: Error) => void = () => {};
  readonly #network: Network;
  readonly #journal: Journal;
  #number = 0;

  constructor(person: Person, network: Network, journal: Journal, options: ProgramOptions) {
    this.person = person;
    this.name = person.name;
    this.run = ++person.runs;
    this.process = new Process(`${person.name}.${this.run}`, person.address);
    this.#network = network;
    this.#journal = journal;
    network.world.after(0, this.process, () => void this.#begin(options));
  }

  /** It has been on, and has not ended. */
  get isRunning(): boolean {
    return this.client !== null && !this.process.isDead;
  }

  /** Nothing has begun to end it either. */
  get isOn(): boolean {
    return this.isRunning && this.process.endedAt === Number.POSITIVE_INFINITY;
  }

  async #begin({ replace = false, servers = this.person.servers }: ProgramOptions): Promise<void> {
    const { name, stateDir } = this.person;
    try {
      const client = await TalkClient.connect({ name, stateDir, server: servers, insecure: true, replace });
      client.on("message", (message) => this.#show(message));
      client.on(
        "peer",
        ({ name: other, state }) => void (state === "left" ? this.gone.add(other) : this.gone.delete(other)),
      );
      // What has happened meanwhile is not told: whoever wants to know asks.
      client.on("server", ({ state }) => void (state === "back" && this.gone.clear()));
      client.on("error", (error) => this.#fail(error));
      this.client = client;
      this.onBegun(client.fingerprint);
    } catch (error) {
      if (!(error instanceof TalkError)) throw error;
      this.#fail(error);
    }
  }

  #fail(error: Error): void {
    this.error = error;
    this.kill();
    this.onEnded(error);
  }

  kill(): void {
    this.#network.kill(this.process);
  }

  leave(): void {
    const { client, process } = this;
    process.endedAt = Math.min(process.endedAt, this.#network.world.now);
    if (client === null) this.kill();
    else this.#do(() => client.close().then(() => this.kill()));
  }

  #do(what: () => Promise<unknown>): void {
    this.#network.world.after(0, this.process, () => void what());
  }

  async #show(message: TalkMessage): Promise<void> {
    this.#journal.shown(this, message);
    const { inner } = this.#network.world;
    if (inner.chance(0.5)) await sleep(inner.next() * (inner.chance(0.1) ? SHOWING_LONG_MS : SHOWING_MS));
  }

  /** @returns the text */
  say(to: string, timeoutMs: number): string {
    const number = ++this.#number;
    const text = `${this.name}.${this.run}.${number}`;
    this.#do(() => this.#send(to, text, number, timeoutMs));
    return text;
  }

  async #send(to: string, text: string, number: number, timeoutMs: number): Promise<void> {
    const client = this.client as TalkClient;
    for (let repeated = false; ; repeated = true) {
      this.#journal.sent(this, to, text, number);
      try {
        await client.send(to, text, { id: text, repeated, timeoutMs });
        this.#journal.outcome(text, "delivered");
        return;
      } catch (error) {
        const isUnconfirmed = error instanceof TalkError && error.code === "unconfirmed";
        const code = error instanceof TalkError ? error.code : String(error);
        this.#journal.outcome(text, isUnconfirmed ? "unconfirmed" : "failed", code);
        if (!isUnconfirmed || !this.#network.world.inner.chance(SENT_AGAIN)) return;
        await sleep(1_000);
        if (!this.isOn) return;
      }
    }
  }
}
