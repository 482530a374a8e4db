// Records and events as the JSON of DESIGN's section 3: the same fields, times as ISO 8601 UTC with milliseconds.
import type {
  DeliveredEvent,
  EpochMs,
  JsonEvent,
  LocalEntry,
  LocalEntryJson,
  SentEvent,
  TalkConnection,
  TalkMessage,
} from "../client/types.ts";

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

export function registeredJson({ name, server, address, port, fingerprint }: TalkConnection): JsonEvent {
  return { type: "registered", name, server, address, port, fingerprint };
}

export function messageJson({ id, from, text, at, fingerprint, verified }: TalkMessage): JsonEvent {
  return { type: "message", id, from, text, at: iso(at), fingerprint, verified };
}

export function sentJson({ id, to, at }: SentEvent): JsonEvent {
  return { type: "sent", id, to, at: iso(at) };
}

export function deliveredJson({ id, to, at, ms }: DeliveredEvent): JsonEvent {
  return { type: "delivered", id, to, at: iso(at), ms };
}
