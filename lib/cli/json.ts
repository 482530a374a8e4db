// What `--json` prints, one object a line: records and events of the client, their times as ISO 8601 in UTC with milliseconds.
import type {
  ClientStats,
  DeliveredEvent,
  EntryJson,
  EpochMs,
  FailedEvent,
  FoldedEvent,
  KeptEvent,
  LocalEntry,
  PathEvent,
  PeerEvent,
  ReceiptEvent,
  RoomEvent,
  RoomResult,
  SentEvent,
  ServerEvent,
  Standing,
  StatusEvent,
  TalkConnection,
  TalkMessage,
  UnconfirmedEvent,
} from "../client/types.ts";
import type { HistoryJson } from "../store/history/record.ts";
import { failureText } from "./advice.ts";
import type { FileJson } from "./files.ts";

/** With these fields as text. */
type Timed<T, K extends keyof T> = Omit<T, K> & { readonly [P in K]: T[P] extends number ? string : string | null };

/** A row of the local table. */
export type LocalEntryJson = Timed<LocalEntry, "startedAt" | "lastMessageAt">;

/** The lines of `ptalk talk --json` and `ptalk recv --json`. */
export type JsonEvent =
  | ({
      readonly type: "registered";
      readonly name: string;
      readonly server: string;
      readonly address: string;
      readonly port: number;
      readonly fingerprint: string;
      readonly requested: string;
    } & Standing)
  | ({ readonly type: "kept" } & Timed<Omit<KeptEvent, "newKey">, "at" | "until">)
  | ({ readonly type: "receipt" } & Timed<ReceiptEvent, "at">)
  | { readonly type: "all"; readonly clients: readonly EntryJson[] }
  | { readonly type: "list"; readonly clients: readonly LocalEntryJson[] }
  | ({ readonly type: "message" } & Timed<Omit<TalkMessage, "isUnattestedLogin">, "at" | "leftAt">)
  | ({ readonly type: "sent" } & Timed<SentEvent, "at">)
  | ({ readonly type: "path" } & PathEvent)
  | ({ readonly type: "delivered" } & Timed<DeliveredEvent, "at">)
  | ({ readonly type: "failed" } & Omit<FailedEvent, "remedy">)
  | ({ readonly type: "unconfirmed" } & Timed<UnconfirmedEvent, "at">)
  | ({ readonly type: "peer" } & PeerEvent)
  | ({ readonly type: "status" } & StatusEvent)
  | ({ readonly type: "server" } & ServerEvent)
  | ({ readonly type: "stats" } & ClientStats)
  | ({ readonly type: "folded" } & FoldedEvent)
  | FileJson
  | ({ readonly type: "room" } & RoomEvent)
  | ({ readonly type: "room-result" } & RoomResult)
  | { readonly type: "members"; readonly room: string; readonly clients: readonly EntryJson[] }
  | { readonly type: "ignored"; readonly names: readonly string[] }
  | { readonly type: "history"; readonly records: readonly HistoryJson[] }
  | { readonly type: "error"; readonly code: string; readonly message: string }
  | { readonly type: "exit" };

const LAST_TIME = 8.64e15; // ms; the end of Date's range

/** Never throws: what another process wrote may be no time at all. */
export function iso(at: EpochMs): string {
  return new Date(Math.abs(at) <= LAST_TIME ? at : 0).toISOString();
}

const isoOrNull = (at: EpochMs | null): string | null => (at === null ? null : iso(at));

export function localJson(c: LocalEntry): LocalEntryJson {
  return {
    name: c.name,
    pid: c.pid,
    uid: c.uid,
    user: c.user,
    tty: c.tty,
    server: c.server,
    address: c.address,
    port: c.port,
    startedAt: iso(c.startedAt),
    lastMessageAt: isoOrNull(c.lastMessageAt),
    sent: c.sent,
    received: c.received,
  };
}

/** @param requested the name that was asked for first */
export function registeredJson(client: TalkConnection, requested: string): JsonEvent {
  const { name, server, address, port, fingerprint, standing } = client;
  return { type: "registered", name, server, address, port, fingerprint, requested, ...standing };
}

export function messageJson(message: TalkMessage): JsonEvent {
  const { id, from, text, at, fingerprint, verified, user, uid, attested, kind, room, via, leftAt, again, auto } =
    message;
  return {
    ...{ type: "message", id, from, text, at: iso(at), fingerprint, verified, user, uid, attested },
    ...{ kind, room, via, leftAt: isoOrNull(leftAt), again, auto },
  };
}

export function sentJson({ id, to, at }: SentEvent): JsonEvent {
  return { type: "sent", id, to, at: iso(at) };
}

export function deliveredJson({ id, to, at, ms, room, via }: DeliveredEvent): JsonEvent {
  return { type: "delivered", id, to, at: iso(at), ms, room, via };
}

export function pathJson({ name, via, address, port }: PathEvent): JsonEvent {
  return { type: "path", name, via, address, port };
}

export function failedJson(event: FailedEvent): JsonEvent {
  const { id, to, code, room } = event;
  return { type: "failed", id, to, code, message: failureText(event), room };
}

export function keptJson({ id, to, at, until }: KeptEvent): JsonEvent {
  return { type: "kept", id, to, at: iso(at), until: iso(until) };
}

export function receiptJson({ id, to, at, state }: ReceiptEvent): JsonEvent {
  return { type: "receipt", id, to, at: iso(at), state };
}

export function unconfirmedJson({ id, to, room, at, message }: UnconfirmedEvent): JsonEvent {
  return { type: "unconfirmed", id, to, room, at: iso(at), message };
}

export function roomJson({ room, state, name, members }: RoomEvent): JsonEvent {
  return { type: "room", room, state, name, members };
}

export function roomResultJson({ id, room, delivered, of, to, declined, failed, newKeys }: RoomResult): JsonEvent {
  return { type: "room-result", id, room, delivered, of, to, declined, failed, newKeys };
}
