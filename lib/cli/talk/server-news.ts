// What people hear of the lookup server, and of having been away themselves: a program that was stopped (Ctrl-Z, SIGSTOP) finds
// its connection closed when it goes on. It was not the server that was gone: that is said once, and nothing of the server.
import type { ServerEvent } from "../../client/types.ts";
import { span } from "../times.ts";
import { serverText } from "./texts.ts";

/** Ms between two looks at the clock. */
const LOOK_MS = 2_000;
/** Ms without a look after which we were stopped for long: by then who has sent something gives up. */
const LONG_MS = 10_000;
/** Ms in which a client that was stopped is back at its server; if not, the server is gone after all. */
const RETURN_MS = 10_000;

export class ServerNews implements Disposable {
  readonly #say: (text: string) => void;
  readonly #timer: NodeJS.Timeout;
  #lookedAt = performance.now();
  /** Until then the server's going and coming back is the end of our own absence. */
  #returningUntil = 0;
  #withheld: NodeJS.Timeout | undefined;
  /** Address of the server that was lost last. */
  #lost: string | undefined;

  constructor(say: (text: string) => void) {
    this.#say = say;
    this.#timer = setInterval(() => this.#look(), LOOK_MS).unref();
    process.on("SIGCONT", this.#look);
  }

  /** @param isOfHost the server is on this host */
  hear(event: ServerEvent, isOfHost = false): void {
    this.#look(); // the loss of the connection may be heard of before the timer is
    if (event.state === "lost") this.#lost = event.address;
    if (event.state === "lost" && performance.now() < this.#returningUntil) {
      this.#withheld = setTimeout(() => this.#tell(event, isOfHost), RETURN_MS).unref();
    } else if (event.state === "back" && this.#withheld !== undefined && !this.#isOther(event)) {
      this.#drop();
    } else this.#tell(event, isOfHost);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#drop();
    process.off("SIGCONT", this.#look);
  }

  readonly #look = (): void => {
    const now = performance.now();
    const awayMs = now - this.#lookedAt;
    this.#lookedAt = now;
    if (awayMs < LONG_MS) return;
    this.#returningUntil = now + RETURN_MS;
    this.#say(`stopped for ${span(awayMs)}: who wrote to you meanwhile may have given up`);
  };

  #isOther({ state, address }: ServerEvent): boolean {
    return state === "back" && this.#lost !== undefined && this.#lost !== address;
  }

  #tell(event: ServerEvent, isOfHost: boolean): void {
    this.#drop();
    this.#say(serverText(event, isOfHost, this.#isOther(event)));
  }

  #drop(): void {
    clearTimeout(this.#withheld);
    this.#withheld = undefined;
  }
}
