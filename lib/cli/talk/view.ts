// How a conversation is shown: one interface, and behind it a terminal, a pipe for people, or JSON for programs.
import type { TalkError } from "../../base/errors.ts";
import type {
  ClientStats,
  DeliveredEvent,
  DirectoryEntry,
  FailedEvent,
  FoldedEvent,
  HistoryRecord,
  KeptEvent,
  LocalEntry,
  MetEvent,
  PathEvent,
  PeerEvent,
  ReceiptEvent,
  RoomEvent,
  RoomResult,
  SentEvent,
  ServerEvent,
  StatusEvent,
  TalkConnection,
  TalkMessage,
  UnconfirmedEvent,
} from "../../client/types.ts";

import type { FileNews } from "../files.ts";

/** Messages to one user who is off. */
export interface OffOffer {
  readonly name: string;
  readonly count: number;
  /** Why nothing can be left for the name; null: it can. */
  readonly obstacle: TalkError | null;
}

export interface View extends Disposable {
  /** @param requested the name that was asked for first */
  registered(client: TalkConnection, requested: string): void;
  /** Fulfilled once the text is handed to the output: only then does the sender learn "delivered". */
  message(message: TalkMessage): Promise<void>;
  /** @param waits it is sent when its recipient comes */
  sent(event: SentEvent, text: string, waits?: boolean): void;
  delivered(event: DeliveredEvent): void;
  failed(event: FailedEvent): void;
  /** Messages to somebody go another way from now on: for programs. */
  path(event: PathEvent): void;
  unconfirmed(event: UnconfirmedEvent): void;
  /** The server keeps a message for a user who is off. */
  kept(event: KeptEvent): void;
  /** What became of one. */
  receipt(event: ReceiptEvent): void;
  all(clients: readonly DirectoryEntry[]): void;
  list(clients: readonly LocalEntry[]): void;
  /** Messages of a burst that are not shown. */
  folded(event: FoldedEvent): void;
  /** Somebody has come into a room, or left it. */
  room(event: RoomEvent): void;
  /** Of a message that was sent to a room; its members' delivered and failed events come before, and are for programs. */
  roomResult(result: RoomResult): void;
  /** One has come into a room oneself, and these others are there. */
  entered(room: string, others: readonly DirectoryEntry[]): void;
  /** The members of a room, when the person asked for them. */
  members(room: string, members: readonly DirectoryEntry[]): void;
  /** What has become of a file, either way. @param command what accepts it, where it is offered */
  file(news: FileNews, command?: string): void;
  /** Whom one ignores, after a question or a change. */
  ignored(names: readonly string[]): void;
  /** What was asked for, oldest first. */
  history(records: readonly HistoryRecord[]): void;
  /** The last that was said with a partner, at the beginning of a conversation. */
  past(records: readonly HistoryRecord[]): void;
  /** The messages that the user's agent has taken and no terminal has shown, oldest first. */
  missed(records: readonly HistoryRecord[]): void;
  stats(stats: ClientStats): void;
  help(): void;
  peer(event: PeerEvent): void;
  /** Somebody else's. */
  status(event: StatusEvent): void;
  /** What the others see of this user from now on. */
  ownStatus(state: "here" | "away", text: string): void;
  server(event: ServerEvent): void;
  error(error: unknown): void;
  /** Lines that name nobody go to this one from now on; null: to nobody. */
  partner(name: string | null): void;
  /** Messages did not reach a user who is off: the person may have them wait, or left. */
  off(offer: OffOffer): void;
  /** Decides about further messages to a user who is off; null: they fail again. */
  whenOff(name: string, choice: "wait" | "leave" | null): void;
  /** No user is on under the partner's name. */
  absent(name: string): void;
  /** The key of a user met for the first time is remembered from now on. */
  met(event: MetEvent): void;
  /** A line that was refused can be mended and entered again, where lines are edited. */
  restore(line: string): void;
  /** The conversation is over; the last thing shown. */
  exit(): void;
}
