// What the transport counts.
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

  onSent(bytes: number): void {
    this.datagramsSent++;
    this.bytesSent += bytes;
  }
  onReceived(bytes: number): void {
    this.datagramsReceived++;
    this.bytesReceived += bytes;
  }
  drop(reason: string): void {
    this.dropped[reason] = (this.dropped[reason] ?? 0) + 1;
  }
}
