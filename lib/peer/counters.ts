// What the transport counts.
import type { RefusalReason } from "../wire/datagram-frames.ts";

export class Counters {
  datagramsSent = 0;
  datagramsReceived = 0;
  bytesSent = 0;
  bytesReceived = 0;
  messagesDelivered = 0;
  messagesReceived = 0;
  /** Of correspondents that are forgotten; the others' outboxes count their own. */
  retransmissions = 0;
  handshakes = 0;
  readonly dropped: Record<string, number> = {};
  /** Messages that were not accepted here, by reason. */
  readonly refused: Record<string, number> = {};

  onSent(bytes: number): void {
    this.datagramsSent++;
    this.bytesSent += bytes;
  }
  onReceived(bytes: number): void {
    this.datagramsReceived++;
    this.bytesReceived += bytes;
  }
  refuse(reason: RefusalReason): void {
    this.refused[reason] = (this.refused[reason] ?? 0) + 1;
  }
  drop(reason: string): void {
    this.dropped[reason] = (this.dropped[reason] ?? 0) + 1;
  }
}
