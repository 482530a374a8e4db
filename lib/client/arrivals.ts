// Waits for users who are off: follows the server's pushes of users who come on, and decides when to ask again. Knows
// no messages.
//
// The order counts: the name is watched, then looked up. A server that was away may have missed its coming, so each reconnect asks anew.
import { foldName } from "../base/names.ts";
import type { ServerSession } from "./server-session.ts";

/** Milliseconds after which it is looked up again, should a push have been missed. */
const ASK_AGAIN_MS = 30_000;

export class Arrivals {
  readonly #session: Pick<ServerSession, "watch" | "unwatch" | "on">;
  /** By folded name: those that wait, and what wakes them. */
  readonly #waiting = new Map<string, Set<() => void>>();

  constructor(session: Pick<ServerSession, "watch" | "unwatch" | "on">) {
    this.#session = session;
    session.on("peer", ({ name, state }) => {
      if (state === "joined") this.#wake(foldName(name));
    });
    session.on("server", ({ state }) => {
      if (state === "back") for (const name of this.#waiting.keys()) this.#wake(name);
    });
  }

  /** Begins to watch a name. @param name folded */
  async expect(name: string): Promise<Expected> {
    const wakers = this.#waiting.get(name) ?? new Set();
    this.#waiting.set(name, wakers);
    let hasCome = false;
    let wake = (): void => {};
    const waker = (): void => {
      hasCome = true;
      wake();
    };
    wakers.add(waker);
    await this.#session.watch(name);
    return {
      async next(withinMs: number): Promise<void> {
        if (!hasCome) {
          await new Promise<void>((resolve) => {
            const timer = setTimeout(resolve, Math.min(withinMs, ASK_AGAIN_MS));
            wake = () => {
              clearTimeout(timer);
              resolve();
            };
          });
        }
        hasCome = false;
      },
      [Symbol.dispose]: () => {
        wake();
        wakers.delete(waker);
        if (wakers.size > 0) return;
        this.#waiting.delete(name);
        this.#session.unwatch(name);
      },
    };
  }

  #wake(name: string): void {
    for (const wake of this.#waiting.get(name) ?? []) wake();
  }
}

/** A waiter. */
export interface Expected extends Disposable {
  /** Fulfilled when somebody has come on under the name since the last call, or it is time to ask; after so many milliseconds at most. */
  next(withinMs: number): Promise<void>;
}
