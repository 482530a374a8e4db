// How sessions end in peace: whoever leaves says CLOSE and repeats it until it is answered with CLOSE.

import { CLOSE_RECENT } from "./limits.ts";
import type { ReadySessions } from "./ready-sessions.ts";
import type { SecureSession } from "./secure-session.ts";
import type { Sessions } from "./sessions.ts";

export class SessionClose {
  readonly #sessions: Sessions;
  readonly #due: ReadySessions;

  constructor(sessions: Sessions, due: ReadySessions) {
    this.#sessions = sessions;
    this.#due = due;
  }

  /** Says goodbye (again) to everybody heard of lately who has not answered it. */
  say(now: number): void {
    for (const session of this.#recent(now)) {
      session.closeDue = true;
      session.settleDue = true;
      this.#due.add(session);
    }
  }

  /** Sessions whose goodbye is not answered yet. */
  unanswered(now: number): number {
    return this.#recent(now).length;
  }

  #recent(now: number): SecureSession[] {
    return [...this.#sessions.all()].filter(({ confirmed, heardAt }) => confirmed && now - heardAt <= CLOSE_RECENT);
  }
}
