// A conversation: lines in, sends and questions out, and what happens shown on a view. Knows the client's interface and
// the view's; no streams, no screen.

import { setMaxListeners } from "node:events";
import { abortable } from "../../base/async.ts";
import { TalkError } from "../../base/errors.ts";
import { foldName, isRoom, validateRoom } from "../../base/names.ts";
import type {
  DirectoryEntry,
  HistoryOptions,
  HistoryRecord,
  SendOptions,
  SentEvent,
  TalkConnection,
} from "../../client/types.ts";
import { type FileNews, filePath, offerFile } from "../files.ts";
import { nameMistakes, parseTalkInput, type TalkInput } from "./input.ts";
import { Offers } from "./offers.ts";
import type { View } from "./view.ts";
import { type Undelivered, WhenOff } from "./when-off.ts";

/** Messages under way at once, and questions: a script that pipes in a file is read no faster than its lines are done. */
const UNDER_WAY_LIMIT = 64;
const ELSEWHERE = "ptalk send has --wait and --leave";
/** Listeners that one of them may have on the signal that gives all of them up. */
const LISTENERS_EACH = 4;

export interface ConversationOptions {
  /** Milliseconds until a message is given up; the client's default if left out. */
  readonly timeoutMs?: number | undefined;
  /** Gives up what is under way. */
  readonly signal: AbortSignal;
  /** To whom lines go that name nobody; nobody if left out. */
  readonly partner?: string | null | undefined;
  /** Earlier messages that are shown when a conversation with a partner begins; none if left out. */
  readonly past?: number | undefined;
  /** Asks what becomes of messages to users who are off: where a person sees the question. */
  readonly asksWhenOff?: boolean;
}

export class Conversation {
  readonly #client: TalkConnection;
  readonly #view: View;
  readonly #options: ConversationOptions;
  readonly #underWay = new Set<Promise<void>>();
  /** All and List: a server that does not answer one holds no message up. */
  readonly #asked = new Set<Promise<void>>();
  /** Until the room that the conversation begins in is entered. */
  #entering: Promise<void> = Promise.resolve();
  readonly #left = new AbortController();
  readonly #fileSignal: AbortSignal;
  /** Files that go out. */
  readonly #moving = new Set<Promise<void>>();
  /** Those that come. */
  readonly #files: Offers;
  /** Only the person who types changes it, never what arrives. */
  #partner: string | null = null;
  #lastSender: string | null = null;
  readonly #startedAt = Date.now();
  /** Folded names of partners of whom the past is on the screen. */
  readonly #pastShown = new Set<string>();
  /** The text given to send() until it has said "sent". */
  #sending: { readonly text: string; readonly waits: boolean } | undefined;
  /** Without a terminal, a message to a user who is off fails. */
  readonly #whenOff: WhenOff | undefined;

  constructor(client: TalkConnection, view: View, options: ConversationOptions) {
    this.#client = client;
    this.#view = view;
    this.#options = options;
    this.#fileSignal = AbortSignal.any([options.signal, this.#left.signal]);
    setMaxListeners(0, this.#fileSignal); // the client bounds their number
    // Each message under way listens; Node warns of more than ten.
    setMaxListeners(UNDER_WAY_LIMIT * LISTENERS_EACH, options.signal);
    client.on("message", ({ from }) => {
      this.#lastSender = from;
    });
    if (options.asksWhenOff) {
      this.#whenOff = new WhenOff({
        ...{ client, view, signal: this.#fileSignal },
        send: (message) => this.#sendAgain(message),
      });
    }
    client.on("sent", (event) => this.#accepted(event));
    client.on("delivered", (event) => {
      view.delivered(event);
      this.#whenOff?.onDelivered(event);
    });
    client.on("failed", (event) => {
      view.failed(event);
      this.#whenOff?.onFailed(event);
    });
    client.on("path", (event) => view.path(event));
    client.on("unconfirmed", (event) => {
      view.unconfirmed(event);
      this.#whenOff?.forget(event.id);
    });
    client.on("kept", (event) => {
      view.kept(event);
      this.#whenOff?.forget(event.id);
    });
    client.on("receipt", (event) => view.receipt(event));
    this.#files = new Offers({ directory: process.cwd(), signal: this.#fileSignal, show: view.file });
    client.on("file", (offer) => this.#files.onOffer(offer));
    client.on("room", (event) => view.room(event));
    client.on("room-result", (result) => view.roomResult(result));
    client.on("folded", (event) => view.folded(event));
    client.on("peer", (event) => {
      view.peer(event);
      if (event.state === "joined") this.#whenOff?.onJoined(event.name);
    });
    client.on("met", (event) => view.met(event));
    client.on("status", (event) => view.status(event));
    client.on("server", (event) => view.server(event));
    client.on("refused", (error) => view.error(error));
    const { partner } = options;
    if (partner && isRoom(partner)) this.#entering = this.#join(partner);
    else if (partner) this.#talkToNamed(partner);
  }

  /**
   * Does what a line says. Fulfilled, once the next line may be read, with false if that was Exit.
   * A mistake in the line is shown, not thrown; a command that there is not stays in the line.
   */
  async take(line: string): Promise<boolean> {
    await this.#entering; // the receiver of a line is not known before
    try {
      return await this.#obey(parseTalkInput(line, this.#partner));
    } catch (error) {
      this.#view.error(error);
      if (line.trimStart().startsWith("/")) this.#view.restore(line);
      return true;
    }
  }

  async #obey(input: TalkInput): Promise<boolean> {
    switch (input.type) {
      case "nothing":
        break;
      case "exit":
        this.leave();
        return false;
      case "help":
        this.#view.help();
        break;
      case "all":
        await this.#ask(() => this.#client.all(), this.#view.all);
        break;
      case "list":
        await this.#ask(async () => this.#client.list(), this.#view.list);
        break;
      case "ignore":
        await this.#ask(() => this.#ignore(input.name), this.#view.ignored);
        break;
      case "unignore":
        if (!this.#client.unignore(input.name))
          throw TalkError.usage(`you do not ignore ${JSON.stringify(input.name)}`);
        this.#view.ignored(this.#client.ignored());
        break;
      case "history":
        await this.#ask(
          () => this.#history({ with: this.#partner ?? undefined, last: input.count }),
          this.#view.history,
        );
        break;
      case "status":
        await this.#ask(
          () => this.#client.setStatus(input.state, input.text),
          () => this.#view.ownStatus(input.state, input.text),
        );
        break;
      case "stats":
        this.#view.stats(this.#client.stats());
        break;
      case "join":
        await this.#join(input.room);
        break;
      case "part":
        await this.#part(input.room);
        break;
      case "who":
        await this.#ask(
          () => this.#client.members(input.room),
          (members) => this.#view.members(input.room, members),
        );
        break;
      case "file":
        this.#sendFile(input.path);
        break;
      case "accept":
        this.#files.accept(input.id);
        break;
      case "decline":
        this.#files.decline(input.id);
        break;
      case "when-off":
        if (this.#whenOff === undefined) throw TalkError.usage(`/${input.choice} is for a terminal: ${ELSEWHERE}`);
        this.#whenOff.answer(input.choice, input.name, this.#partner);
        break;
      case "to":
        if (input.name !== null && isRoom(input.name)) await this.#join(input.name);
        else this.#talkToNamed(input.name);
        break;
      case "reply":
        if (this.#lastSender === null) throw TalkError.usage("nobody has written yet");
        this.#talkTo(this.#lastSender);
        break;
      case "send":
        await this.#sendAll(input.to, input.text);
        break;
    }
    return true;
  }

  /** Enters the room, if it is another one, and talks there. */
  async #join(name: string): Promise<void> {
    const room = validateRoom(name);
    const entered = this.#client.join(room).then((others) => {
      this.#talkTo(room);
      this.#view.entered(room, others);
    });
    // The next line is for the room, so it waits.
    await abortable(entered, this.#options.signal).catch((error: unknown) => this.#fail(error));
  }

  /** A room that one is not in any more is not talked to: the next line waits. */
  async #part(room: string): Promise<void> {
    if (this.#partner === room) this.#talkTo(null);
    await abortable(this.#client.part(room), this.#options.signal).catch((error: unknown) => this.#fail(error));
  }

  /** Talks to a user that the person has named, and says so if no user of that name is on. */
  #talkToNamed(name: string | null): void {
    this.#talkTo(name);
    if (name === null) return;
    const say = (entry: DirectoryEntry | null): void => {
      if (entry === null && this.#partner === name) this.#view.absent(name);
    };
    this.#client.lookup(name).then(say, () => {}); // a server that cannot answer now is no reason to say anything
  }

  #talkTo(name: string | null): void {
    this.#partner = name;
    this.#view.partner(name);
    if (name !== null) this.#showPast(name);
  }

  /** The person goes: files that are under way are given up, what has arrived of them is kept. Messages go on, see drain(). */
  leave(): void {
    this.#left.abort(TalkError.closed("the conversation"));
  }

  /** Does not wait for the file: the next lines go on, and drain() waits. */
  #sendFile(path: string): void {
    const { timeoutMs } = this.#options;
    if (this.#partner === null) throw TalkError.usage("to whom? Write /to NAME first");
    if (isRoom(this.#partner)) throw TalkError.usage("a file goes to one person: write /to NAME first");
    const show = (news: FileNews): void => this.#view.file(news);
    const sending = offerFile(this.#client, this.#partner, filePath(path), {
      signal: this.#fileSignal,
      timeoutMs,
      show,
    });
    const settled: Promise<void> = sending.then(
      () => {},
      () => {}, // it has been shown
    );
    this.#moving.add(settled);
    void settled.then(() => this.#moving.delete(settled));
  }

  /** What was said before this conversation; once, since all that comes later is on the screen. */
  #showPast(name: string): void {
    const { past = 0 } = this.#options;
    const folded = foldName(name);
    if (past === 0 || this.#pastShown.has(folded)) return;
    this.#pastShown.add(folded);
    // Nobody waits for it, and a disk that does not answer is no reason to say anything.
    this.#history({ with: name, until: this.#startedAt, last: past }).then(this.#view.past, () => {});
  }

  async #ignore(name: string | null): Promise<readonly string[]> {
    if (name !== null) await this.#client.ignore(name);
    return this.#client.ignored();
  }

  async #history(options: HistoryOptions): Promise<HistoryRecord[]> {
    const records: HistoryRecord[] = [];
    for await (const record of this.#client.history(options)) records.push(record);
    return records;
  }

  /** Waits until everything sent is delivered or given up, and asked is answered: each of them within a bound. */
  async drain(): Promise<void> {
    await Promise.all([...this.#underWay, ...this.#asked, ...this.#moving, ...this.#files.underWay]);
  }

  async #ask<T>(question: () => Promise<T>, show: (answer: T) => void): Promise<void> {
    // Of its own: Node warns of a signal to which more than ten listen.
    const signal = AbortSignal.any([this.#options.signal]);
    await track(this.#asked, () => abortable(question(), signal).then(show, (error) => this.#fail(error)));
  }

  #fail(error: unknown): void {
    if (!this.#options.signal.aborted) this.#view.error(error);
  }

  async #sendAll(names: readonly string[], text: string): Promise<void> {
    const mistakes = nameMistakes(names);
    for (const mistake of mistakes) this.#view.error(mistake);
    if (mistakes.length === 0) for (const to of names) await this.#send(to, text);
  }

  async #send(to: string, text: string): Promise<void> {
    if (isRoom(to)) await track(this.#underWay, () => this.#begin({ to, text }));
    else if (this.#whenOff?.waits(to)) this.#wait({ to, text });
    else await track(this.#underWay, () => this.#begin({ to, text }, this.#whenOff?.leaves(to) ? LEAVES : {}));
  }

  /** Sends a message that did not reach its user, as the person has answered. It keeps its id: a message that arrived after all is not shown twice. */
  #sendAgain({ choice, ...message }: Undelivered & { readonly choice: "wait" | "leave" }): void {
    if (choice === "wait") this.#wait(message);
    else void track(this.#underWay, () => this.#begin(message, LEAVES));
  }

  /** Holds up neither the next lines nor the end. */
  #wait(message: Message): void {
    const { signal, ended } = (this.#whenOff as WhenOff).waiting(message.to);
    void this.#begin(message, { ifOff: "wait", waitMs: MAX_WAIT_MS, signal }).then(ended);
  }

  /** Never rejects. */
  #begin({ to, text, id }: Message, more: Pick<SendOptions, "ifOff" | "waitMs" | "signal"> = {}): Promise<void> {
    const { timeoutMs, signal } = this.#options;
    const options = { signal, ...(timeoutMs === undefined ? {} : { timeoutMs }), ...(id === undefined ? {} : { id }) };
    this.#sending = { text, waits: more.ifOff === "wait" }; // "sent" is emitted before send() returns
    const sending = this.#client.send(to, text, { ...options, ...more });
    const accepted = this.#sending === undefined;
    return sending.then(
      () => {},
      // Of an accepted message "failed" or "unconfirmed" has told.
      (error: unknown) => (accepted ? undefined : this.#fail(error)),
    );
  }

  #accepted(event: SentEvent): void {
    const { text = "", waits = false } = this.#sending ?? {};
    this.#view.sent(event, text, waits);
    this.#whenOff?.onSent(event, text);
    this.#sending = undefined;
  }
}

interface Message {
  readonly to: string;
  readonly text: string;
  /** Of an attempt before this one. */
  readonly id?: string;
}

const LEAVES = { ifOff: "leave" } as const;
/** Milliseconds that a message waits at most: as long as a conversation lasts, and a week is the client's bound. */
const MAX_WAIT_MS = 7 * 86_400_000;

/** Begins something as soon as there is room, and returns then. What it begins does not reject. */
async function track(underWay: Set<Promise<void>>, begin: () => Promise<void>): Promise<void> {
  while (underWay.size >= UNDER_WAY_LIMIT) await Promise.race(underWay);
  const settled = begin();
  underWay.add(settled);
  void settled.then(() => underWay.delete(settled));
}
