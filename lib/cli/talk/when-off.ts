// Messages to users who are off, in a conversation at a terminal: keeps the undelivered ones until the person decides about them, and
// applies the decision to later ones. The question takes no key and changes no line: typing goes on, and the answer is a command like
// any other.
//
//  1. A message fails, because no user of that name is on. It has failed, and stays so unless the person answers.
//  2. /wait: it is sent when the user comes. /leave: the server keeps it. Both hold for later messages to that name as well, so
//     that none overtakes.
//  3. The user is back: messages go directly again. Once one is delivered, those that waited have gone before it, and those that the
//     person never decided about are forgotten.
import { TalkError } from "../../base/errors.ts";
import { foldName, isRoom } from "../../base/names.ts";
import type { DeliveredEvent, FailedCode, FailedEvent, SentEvent, TalkConnection } from "../../client/types.ts";
import type { WhenOffChoice } from "./input.ts";
import type { View } from "./view.ts";

/** Messages that wait for an answer, or for their recipients; of those without an answer the oldest are forgotten first. */
const MAX_MESSAGES = 64;

/** Why a message could not be left: it may still wait. */
const NOT_LEFT: readonly FailedCode[] = ["no-key", "not-understood", "mailbox-full"];

export interface Undelivered {
  readonly id: string;
  readonly to: string;
  readonly text: string;
}

export interface WhenOffOptions {
  readonly client: Pick<TalkConnection, "leaveObstacle">;
  readonly view: Pick<View, "off" | "whenOff" | "error">;
  /** Gives up what waits. */
  readonly signal: AbortSignal;
  readonly send: (message: Undelivered & { readonly choice: "wait" | "leave" }) => void;
}

export class WhenOff {
  readonly #options: WhenOffOptions;
  /** By id: what has been sent, and may fail. */
  readonly #underWay = new Map<string, Undelivered>();
  /** Without an answer, oldest first. */
  #offered: Undelivered[] = [];
  /** By folded name. */
  readonly #choices = new Map<string, "wait" | "leave">();
  readonly #waiting = new Map<string, Set<AbortController>>();
  /** Folded names of those about whom the person is about to be asked. */
  readonly #offering = new Set<string>();

  constructor(options: WhenOffOptions) {
    this.#options = options;
  }

  waits(name: string): boolean {
    return this.#choices.get(foldName(name)) === "wait";
  }

  leaves(name: string): boolean {
    return this.#choices.get(foldName(name)) === "leave";
  }

  /** A message waits from now on, until `ended` is called or the signal is aborted. @throws TalkError usage */
  waiting(name: string): { readonly signal: AbortSignal; readonly ended: () => void } {
    this.#checkRoom(1);
    const folded = foldName(name);
    const all = this.#waiting.get(folded) ?? new Set();
    const controller = new AbortController();
    this.#waiting.set(folded, all.add(controller));
    const ended = (): void => {
      all.delete(controller);
      if (all.size === 0 && this.#waiting.get(folded) === all) this.#waiting.delete(folded);
    };
    return { signal: AbortSignal.any([this.#options.signal, controller.signal]), ended };
  }

  onSent({ id, to }: SentEvent, text: string): void {
    if (!isRoom(to)) this.#underWay.set(id, { id, to, text });
  }

  /** It is known what became of it. */
  forget(id: string): void {
    this.#underWay.delete(id);
  }

  onDelivered({ id, to, room }: DeliveredEvent): void {
    if (room !== null) return;
    this.forget(id);
    const folded = foldName(to);
    this.#offered = this.#offered.filter((message) => foldName(message.to) !== folded);
    // Those that still wait go first; then the next one is a message like any other.
    if (this.leaves(to) || this.#waitingFor(folded) <= 1) this.#choices.delete(folded);
  }

  onJoined(name: string): void {
    if (this.leaves(name)) this.#choices.delete(foldName(name));
  }

  onFailed({ id, to, code, room }: FailedEvent): void {
    const message = this.#underWay.get(id);
    this.forget(id);
    if (message === undefined || room !== null || this.#options.signal.aborted) return;
    const wasNotLeft = this.leaves(to) && NOT_LEFT.includes(code);
    if (wasNotLeft) this.#choices.delete(foldName(to));
    if (code !== "no-such-user" && !wasNotLeft) return;
    this.#offered = [...this.#offered, message].slice(-MAX_MESSAGES);
    void this.#offer(to);
  }

  /**
   * Decides about messages to a user.
   * @param name null: the one whose messages wait for an answer, or the partner
   * @throws TalkError usage
   */
  answer(choice: WhenOffChoice, name: string | null, partner: string | null): void {
    const to = name ?? this.#meant(choice, partner);
    if (choice === "cancel") this.#cancel(to);
    else this.#choose(choice, to);
  }

  #choose(choice: "wait" | "leave", to: string): void {
    const folded = foldName(to);
    const messages = this.#offered.filter((message) => foldName(message.to) === folded);
    if (choice === "wait") this.#checkRoom(messages.length);
    this.#offered = this.#offered.filter((message) => !messages.includes(message));
    this.#choices.set(folded, choice);
    this.#options.view.whenOff(to, choice);
    for (const message of messages) this.#options.send({ ...message, choice });
  }

  #cancel(to: string): void {
    const folded = foldName(to);
    const waiting = [...(this.#waiting.get(folded) ?? [])];
    const before = this.#offered.length;
    this.#offered = this.#offered.filter((message) => foldName(message.to) !== folded);
    const hadChoice = this.#choices.delete(folded);
    if (waiting.length === 0 && !hadChoice && before === this.#offered.length) {
      throw TalkError.usage(`no message for ${JSON.stringify(to)} waits`);
    }
    for (const controller of waiting) controller.abort(TalkError.notDelivered(to, "you have given it up"));
    this.#options.view.whenOff(to, null);
  }

  /** The user whose messages a command without a name is about. @throws TalkError usage */
  #meant(choice: WhenOffChoice, partner: string | null): string {
    const names = new Map<string, string>();
    if (choice === "cancel")
      for (const name of [...this.#waiting.keys(), ...this.#choices.keys()]) names.set(name, name);
    for (const { to } of this.#offered) names.set(foldName(to), to);
    const isPerson = partner !== null && !isRoom(partner);
    if (isPerson && (names.size === 0 || names.has(foldName(partner)))) return partner;
    const [only, ...more] = names.values();
    // In a room /leave may be meant for the room.
    const isClear = only !== undefined && more.length === 0 && (partner === null || isPerson);
    if (isClear) return only;
    if (only === undefined) {
      throw TalkError.usage(`no message waits for an answer; /part leaves a room, /exit the conversation`);
    }
    throw TalkError.usage(`whose messages? Write /${choice} NAME: ${[...names.values()].join(", ")}`);
  }

  async #offer(to: string): Promise<void> {
    const { client, view } = this.#options;
    const folded = foldName(to);
    if (this.#offering.has(folded)) return; // that one counts this message too
    this.#offering.add(folded);
    const obstacle = await client.leaveObstacle(to).catch(() => null); // it is tried, then
    this.#offering.delete(folded);
    const count = this.#offered.filter((message) => foldName(message.to) === folded).length;
    if (count > 0) view.off({ name: to, count, obstacle });
  }

  /** @throws TalkError usage */
  #checkRoom(more: number): void {
    let count = more;
    for (const all of this.#waiting.values()) count += all.size;
    if (count <= MAX_MESSAGES) return;
    throw TalkError.usage(`at most ${MAX_MESSAGES} messages wait: /cancel NAME gives those for NAME up`);
  }

  #waitingFor(folded: string): number {
    return this.#waiting.get(folded)?.size ?? 0;
  }
}
