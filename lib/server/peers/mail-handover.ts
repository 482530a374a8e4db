// Kept messages that follow their recipients: a server that has some for a client of another server hands them over by the link to it.
//
//  1. The giver leases the oldest message for the name to that server, as to a client that takes it (store/mailbox.ts): it is marked as handed out,
//     on the disk, before it leaves. HAND has the message, when it was left, and whether it was marked before.
//  2. The taker keeps it like a message that is left there, with that mark, and says TOOK once it is on its disk. Then it tells the recipient.
//  3. The giver deletes it, and sends the next. Without an answer it gives the lease back: it still has the message, and begins anew.
//
// What holds, whichever of the two is killed or cut off when, and however often:
//   - A message is on the disk of one server at least, until its recipient has said DONE: the giver deletes it behind the taker's fsync.
//   - At most one copy is without the mark "again", ever: the mark is on the giver's disk before the unmarked copy leaves. So a copy that is shown
//     a second time is marked, and the recipient's log of ids drops it, as it does when a server dies before DONE.
//   - The messages of one server for a name arrive in the order in which they were left there: one at a time is under way.
//   - Nothing waits in memory: the mailbox and the directory say what to do, and do so again after any failure.
import { failpoint } from "../../store/failpoint.ts";
import type { TakenLeft } from "../../store/mailbox.ts";
import type { Log } from "../log.ts";
import type { MailboxOffice, NotAccepted } from "../mailbox-office.ts";
import { RareLog } from "../rare-log.ts";
import type { HandMessage, PeerMessage, TookMessage } from "./peer-frames.ts";

/** Names whose messages are under way to one server at the same time; others wait for the next look. */
const MAX_NAMES = 16;
/** Ms for the other server's answer: it has to sync a file and a folder. */
const ANSWER_MS = 10_000;
/** Ms between looks at all names: what was tried in vain is tried again. */
const LOOK_MS = 5_000;
/** Ms for which a server that keeps none, or has no room, is left alone. */
const REST_MS = 30_000;

export interface HandoverParts {
  /** Of this server, as the others know it. */
  readonly server: string;
  readonly office: Pick<MailboxOffice, "recipients" | "waiting" | "takeFor" | "gone" | "keep" | "accept">;
  readonly links: {
    readonly reach: (server: string) => Promise<boolean>;
    readonly send: (server: string, message: PeerMessage) => boolean;
  };
  /** The other server that a client of this folded name is on at; null: none, or that cannot be told now. */
  readonly serverOf: (name: string) => string | null;
  /** So many messages can be had for a name: its client may be on here. */
  readonly tell: (to: string, waiting: number) => void;
  readonly log: Log;
  readonly lookMs?: number;
  readonly answerMs?: number;
}

/** Why nothing more goes to that server now. */
type Stop = NotAccepted | "unreachable" | "no answer";

export class MailHandover implements Disposable {
  readonly #parts: HandoverParts;
  readonly #rareLog: RareLog;
  /** By server: the names whose messages are under way to it; true: look once more. */
  readonly #underWay = new Map<string, Map<string, boolean>>();
  /** What the other server is to answer, by its name and the file's. */
  readonly #answers = new Map<string, (why: NotAccepted | null) => void>();
  /** By server: until when it rests. */
  readonly #resting = new Map<string, number>();
  readonly #timer: NodeJS.Timeout;
  /** Names had to wait for others. */
  #isFull = false;
  #isClosed = false;
  // Counters for INFO.
  #handed = 0;
  #taken = 0;
  #refused = 0;

  constructor(parts: HandoverParts) {
    this.#parts = parts;
    this.#rareLog = new RareLog(parts.log);
    this.#timer = setInterval(() => this.#lookAtAll(), parts.lookMs ?? LOOK_MS).unref();
  }

  get stats(): Readonly<Record<string, number>> {
    let waiting = 0;
    for (const to of this.#parts.office.recipients()) {
      if (this.#parts.serverOf(to) !== null) waiting += this.#parts.office.waiting(to);
    }
    return {
      ...{ peer_mail_handed: this.#handed, peer_mail_taken: this.#taken, peer_mail_refused: this.#refused },
      peer_mail_waiting: waiting,
    };
  }

  /** There may be something for that name, and its client may be on elsewhere. @param to folded */
  look(to: string): void {
    const server = this.#isClosed ? null : this.#parts.serverOf(to);
    if (server === null || this.#parts.office.waiting(to) === 0) return;
    const names = this.#underWay.get(server) ?? new Map<string, boolean>();
    if (names.has(to)) names.set(to, true);
    else if (names.size < MAX_NAMES && performance.now() >= (this.#resting.get(server) ?? 0)) {
      this.#underWay.set(server, names);
      void this.#handAll(server, to, names).finally(() => {
        names.delete(to);
        if (names.size > 0) return;
        this.#underWay.delete(server);
        if (this.#isFull) this.#lookAtAll();
      });
    } else this.#isFull = true;
  }

  /** What another server has sent. */
  receive(message: HandMessage | TookMessage): void {
    if (message.type === "took") this.#answers.get(answerOf(message.server, message.name))?.(message.why);
    else void this.#take(message);
  }

  /** Messages under way stay here. */
  [Symbol.dispose](): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
  }

  #lookAtAll(): void {
    this.#isFull = false;
    for (const to of this.#parts.office.recipients()) this.look(to);
  }

  async #handAll(server: string, to: string, names: Map<string, boolean>): Promise<void> {
    try {
      do {
        names.set(to, false);
        while (!this.#isClosed && this.#parts.serverOf(to) === server) {
          const stop = await this.#handOne(server, to);
          if (stop === "empty") break;
          if (stop !== null) {
            this.#stopped(server, stop);
            return;
          }
        }
      } while (names.get(to));
    } catch (error) {
      this.#parts.log.error("the mailbox failed", { error });
    }
  }

  /** @returns null: it is there now; "empty": nothing is left */
  async #handOne(server: string, to: string): Promise<Stop | "empty" | null> {
    const { office, links } = this.#parts;
    if (!(await links.reach(server))) return "unreachable";
    const taken = await office.takeFor(server, to);
    if (taken === undefined) return "empty";
    const stop = await this.#send(server, taken);
    if (stop === null) {
      await failpoint("hand over answered");
      await office.gone(server, taken.name);
      this.#handed++;
      return null;
    }
    office.keep(server, to);
    this.#parts.tell(to, office.waiting(to)); // it may have come here meanwhile
    return stop;
  }

  async #send(server: string, { name, at, again, head, bytes }: TakenLeft): Promise<Stop | null> {
    const key = answerOf(server, name);
    const own = this.#parts.server;
    let late: NodeJS.Timeout | undefined;
    const answer = new Promise<Stop | null>((resolve) => {
      this.#answers.set(key, resolve);
      late = setTimeout(() => resolve("no answer"), this.#parts.answerMs ?? ANSWER_MS);
    });
    try {
      const isOnItsWay = this.#parts.links.send(server, {
        type: "hand",
        server: own,
        name,
        at,
        again,
        message: { ...head, bytes },
      });
      if (!isOnItsWay) return "unreachable";
      await failpoint("hand over sent");
      return await answer;
    } finally {
      clearTimeout(late);
      this.#answers.delete(key);
    }
  }

  #stopped(server: string, stop: Stop): void {
    if (stop === "unreachable") return; // the link rests by itself, and says so
    if (stop !== "no answer") {
      this.#refused++;
      this.#resting.set(server, performance.now() + REST_MS);
    }
    this.#rareLog.warn("kept messages stay here", { server, reason: REASONS[stop] });
  }

  async #take({ server, name, at, again, message }: HandMessage): Promise<void> {
    const { office, links, tell } = this.#parts;
    const { to, account } = message;
    // Uids of other hosts are other people, and one of them fills the room of nobody here.
    const of = account.includes("@") ? account : `${account}@${server}`;
    const why = await office.accept({ ...message, account: of }, { at: Math.min(at, Date.now()), again });
    if (why === null) {
      this.#taken++;
      await failpoint("hand over taken");
    }
    links.send(server, { type: "took", server: this.#parts.server, name, why });
    if (why !== null) return;
    await failpoint("hand over told");
    tell(to, office.waiting(to));
    // The recipient may have gone on. Back to where it comes from it goes with the next look only: two servers may see a client at each other for a moment.
    if (this.#parts.serverOf(to) !== server) this.look(to);
  }
}

const answerOf = (server: string, name: string): string => `${server} ${name}`;

const REASONS: Readonly<Record<Exclude<Stop, "unreachable">, string>> = {
  none: "the server that their recipient is at keeps none (--no-mailbox, or no state directory)",
  full: "the mailbox of the server that their recipient is at is full",
  old: "the server that their recipient is at would discard them at once: its --mailbox-age is shorter",
  failed: "the server that their recipient is at cannot write its mailbox",
  "no answer": "the server that their recipient is at has not said that it has them",
};
