// What one side of a session has to answer: which counters have arrived, and whether somebody waits to hear it. Pure.
import type { ReplayWindow } from "../../crypto/replay-window.ts";
import { ACK_HEAD_BYTES, type FrameWriter, MAX_ACK_WORDS } from "../../wire/datagram-frames.ts";

/** Each arrival is reported in at least so many ACKs: some of them get lost. */
const REPEATS = 4;

export class AckTracker {
  /** Something has arrived that calls for an ACK. */
  due = false;
  readonly #window: ReplayWindow;
  readonly #words = new Uint32Array(MAX_ACK_WORDS);
  readonly #reported: number[] = new Array<number>(REPEATS).fill(0); // the largest counters of the last ACKs, in a ring
  #turn = 0;

  constructor(window: ReplayWindow) {
    this.#window = window;
  }

  /** WriteBatcher the ACK; nothing before anything has arrived. */
  write(writer: FrameWriter): void {
    const { largest } = this.#window;
    this.due = false;
    if (largest < 0) return;
    // Back to where the fourth-last ACK ended, and one word more for what was overtaken.
    const oldest = this.#reported[this.#turn] as number;
    this.#reported[this.#turn] = largest;
    this.#turn = (this.#turn + 1) % REPEATS;
    const reach = (largest >>> 5) - (oldest >>> 5) + 2;
    const room = Math.floor((writer.room - ACK_HEAD_BYTES) / 4);
    const count = Math.min(reach, (largest >>> 5) + 1, MAX_ACK_WORDS, room);
    if (count < 1) return;
    for (let w = 0; w < count; w++) this.#words[w] = this.#window.word(w);
    writer.ack(largest, this.#words, count);
  }
}
