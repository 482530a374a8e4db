// When a message rings. Knows no terminal.
import type { BellPolicy } from "../config-values.ts";

export const BEL = "\x07";
/** Ms in which several messages ring once. */
const RING_EVERY_MS = 1_000;

export class Bell {
  readonly #policy: BellPolicy;
  readonly #ring: () => void;
  #rangAt = Number.NEGATIVE_INFINITY;
  #lastLeftAt = Number.NEGATIVE_INFINITY;

  /** @param ring writes BEL to a terminal */
  constructor(policy: BellPolicy, ring: () => void) {
    this.#policy = policy;
    this.#ring = ring;
  }

  /**
   * A message is on the screen.
   * @param isDirect for this user alone, and not in a room
   * @param wasLeft it has waited at the server: those that come together ring once, however long that takes
   */
  onMessage(now = performance.now(), isDirect = true, wasLeft = false): void {
    if (this.#policy === "off" || (this.#policy === "direct" && !isDirect)) return;
    const isOneOfMany = wasLeft && now - this.#lastLeftAt < RING_EVERY_MS;
    if (wasLeft) this.#lastLeftAt = now;
    if (isOneOfMany || now - this.#rangAt < RING_EVERY_MS) return;
    this.#rangAt = now;
    this.#ring();
  }
}
