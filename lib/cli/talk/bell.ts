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

  /** A message is on the screen. @param isDirect for this user alone, and not in a room */
  onMessage(now = performance.now(), isDirect = true): void {
    if (this.#policy === "off" || (this.#policy === "direct" && !isDirect) || now - this.#rangAt < RING_EVERY_MS)
      return;
    this.#rangAt = now;
    this.#ring();
  }
}
