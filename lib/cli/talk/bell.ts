// When a message rings. Knows no terminal.
import type { BellPolicy } from "../config-values.ts";

export const BEL = "\x07";
/** Ms in which several messages ring once. */
const RING_EVERY_MS = 1_000;

export class Bell {
  readonly #policy: BellPolicy;
  readonly #ring: () => void;
  #rangAt = Number.NEGATIVE_INFINITY;

  /** @param ring writes BEL to a terminal */
  constructor(policy: BellPolicy, ring: () => void) {
    this.#policy = policy;
    this.#ring = ring;
  }

  /** A message for this user is on the screen. */
  onMessage(now = performance.now()): void {
    if (this.#policy === "off" || now - this.#rangAt < RING_EVERY_MS) return;
    this.#rangAt = now;
    this.#ring();
  }
}
