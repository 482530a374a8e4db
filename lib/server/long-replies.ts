// Replies too long for one write, which wait for their readers. Other clients do not wait for those: such replies are bounded in
// bytes, over all connections of a worker, and in time.
import type { Connection } from "./connection.ts";
import type { Limits } from "./limits.ts";

interface Waiting {
  readonly connection: Connection;
  bytes: number;
}

export class LongReplies {
  readonly #limits: Limits;
  /** The longest waiting first. */
  readonly #waiting = new Set<Waiting>();
  #bytes = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /** Sends a reply in parts, each when the other side has taken most of those before. @param parts emptied meanwhile */
  async send(connection: Connection, parts: Uint8Array[]): Promise<void> {
    const reply = { connection, bytes: parts.reduce((sum, part) => sum + part.length, 0) };
    this.#waiting.add(reply);
    this.#bytes += reply.bytes;
    this.#makeRoom();
    const late = setTimeout(() => connection.tooSlow(), this.#limits.longReplyMs).unref();
    for (let part = parts.shift(); part !== undefined && this.#waiting.has(reply); part = parts.shift()) {
      reply.bytes -= part.length;
      this.#bytes -= part.length;
      connection.send(part);
      await connection.drained();
      if (connection.gone) this.#forget(reply);
    }
    clearTimeout(late);
    this.#forget(reply);
  }

  #makeRoom(): void {
    for (const reply of this.#waiting) {
      if (this.#bytes <= this.#limits.longReplyBytes || this.#waiting.size === 1) return;
      this.#forget(reply);
      reply.connection.tooSlow();
    }
  }

  #forget(reply: Waiting): void {
    if (this.#waiting.delete(reply)) this.#bytes -= reply.bytes;
  }
}
