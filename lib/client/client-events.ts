// Events of a client, told so that a listener's mistake is the program's and nobody else's: not the message's fate, not the
// connection's. It is heard of as a rejection is under EventEmitter's `captureRejections`.
import type { EventEmitter } from "node:events";
import type { TalkClientEvents } from "./types.ts";

export function emitSafely<E extends keyof TalkClientEvents>(
  client: EventEmitter<TalkClientEvents>,
  event: E,
  ...args: TalkClientEvents[E]
): void {
  try {
    (client as EventEmitter).emit(event, ...args);
  } catch (error) {
    reportListenerError(client, error);
  }
}

/** A listener has thrown, or its promise was rejected. */
export function reportListenerError(client: EventEmitter<TalkClientEvents>, reason: unknown): void {
  const error = reason instanceof Error ? reason : new Error(String(reason));
  process.nextTick(() => client.emit("error", error)); // without a listener for it, emit() throws: an uncaught exception
}
