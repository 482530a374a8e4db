// How long a NAT or a stateful firewall in front of this host lets the server's datagrams in after something has gone out. Measured with
// a socket of its own, since nothing may be sent from it meanwhile:
//  1. A question to the server's STUN port asks for a second answer after a silence.
//  2. It comes: ways stay open for at least so long, and a longer silence is tried. It does not, and another one after as long a silence
//     does not either: they close sooner, and the measurement ends; but before any has come, shorter silences are tried.
//  3. The longest one has had its answer: nothing that matters closes.
// The entry of a socket that has sent once ends sooner than that of a busy one (30 s and 120 s at Linux): the measured time is a safe one.
import { randomBytes } from "node:crypto";
import { debuglog } from "node:util";
import { sleep } from "../base/async.ts";
import { isSameEndpoint } from "../base/endpoint.ts";
import { DatagramSocket } from "../net/datagram-socket.ts";
import { announcesLate, decodeBindingResponse, encodeBindingRequest, TRANSACTION_BYTES } from "../net/stun.ts";
import type { ServerSession } from "./server-session.ts";

const debug = debuglog("ptalk-client");

export interface MeasureTimes {
  /** Milliseconds of silence that are tried, the shortest first. */
  readonly silences: readonly number[];
  /** Which one is tried first: most NATs outlive it. */
  readonly first: number;
  /** Milliseconds to wait for an answer beyond its silence. */
  readonly graceMs: number;
}

const TIMES: MeasureTimes = { silences: [7_000, 14_000, 28_000, 58_000, 118_000, 178_000], first: 2, graceMs: 2_000 };
/** A loss is no closed way. */
const TRIES = 2;
/** Questions until the server has said that it will answer twice. */
const QUESTIONS = 3;
const BUFFER_BYTES = 4_096;

type Session = Pick<ServerSession, "observer">;
/** "unknown": the server does not do this, or there was another one meanwhile. */
type Answer = "came" | "missing" | "unknown";

export class HoleLifetime {
  readonly #session: Session;
  readonly #onChange: () => void;
  readonly #times: MeasureTimes;
  #stop = new AbortController();
  #openMs = 0;
  #closedMs: number | null = null;

  /** @param onChange either of the two times is another one */
  constructor(session: Session, onChange: () => void, times: MeasureTimes = TIMES) {
    this.#session = session;
    this.#onChange = onChange;
    this.#times = times;
  }

  /** The longest silence after which an answer came in; 0: none is known. */
  get openMs(): number {
    return this.#openMs;
  }
  /** The shortest silence after which none did; null: none is known, and once the longest was tried, there is none. */
  get closedMs(): number | null {
    return this.#closedMs;
  }

  /** Begins anew: the network may be another one. Resolves when it is measured, or cannot be. Never rejects. */
  async measure(): Promise<void> {
    this.close();
    this.#stop = new AbortController();
    this.#openMs = 0;
    this.#closedMs = null;
    const { signal } = this.#stop;
    try {
      await this.#search(signal);
    } catch (error) {
      // Another measurement has begun, the client has been closed, or no socket is to be had.
      if (!signal.aborted) debug("the time that ways stay open cannot be measured: %s", error);
    }
  }

  close(): void {
    this.#stop.abort();
  }

  async #search(signal: AbortSignal): Promise<void> {
    const { silences, first } = this.#times;
    for (let step = first; step >= 0 && step < silences.length; ) {
      const silenceMs = silences[step] as number;
      const answer = await this.#try(silenceMs, signal);
      if (answer === "unknown") return;
      const isOpen = answer === "came";
      if (isOpen) this.#openMs = silenceMs;
      else this.#closedMs = silenceMs;
      debug("after %d ms of silence the server's datagrams %s", silenceMs, isOpen ? "come in" : "do not come in");
      this.#onChange();
      if (isOpen ? this.#closedMs !== null : this.#openMs > 0) return;
      step += isOpen ? 1 : -1;
    }
  }

  async #try(silenceMs: number, signal: AbortSignal): Promise<Answer> {
    let answer: Answer = "missing";
    for (let i = 0; i < TRIES && answer === "missing"; i++) answer = await this.#tryOnce(silenceMs, signal);
    return answer;
  }

  async #tryOnce(silenceMs: number, signal: AbortSignal): Promise<Answer> {
    const { observer } = this.#session;
    if (observer === null) return "unknown";
    const { endpoint, token } = observer;
    const transaction = randomBytes(TRANSACTION_BYTES);
    let [isAnnounced, hasCome] = [false, false];
    let onAnswer = (): void => {};
    using socket = disposable(
      new DatagramSocket(endpoint.address.includes(":") ? "::" : "0.0.0.0", 0, BUFFER_BYTES, {
        onDatagram: (datagram, address, port) => {
          if (!isSameEndpoint(endpoint, address, port)) return;
          if (decodeBindingResponse(datagram, transaction) === null) return;
          if (announcesLate(datagram)) isAnnounced = true;
          else if (isAnnounced) hasCome = true;
          onAnswer();
        },
        onRead: () => {},
        onError: () => {},
      }),
    );
    const answered = (ms: number): Promise<void> => {
      const isThere = new Promise<void>((resolve) => {
        onAnswer = resolve;
      });
      return Promise.race([isThere, sleep(ms, signal)]);
    };
    for (let i = 0; i < QUESTIONS && !isAnnounced; i++) {
      socket.send(encodeBindingRequest(transaction, token, { lateMs: silenceMs }), endpoint.address, endpoint.port);
      await answered(this.#times.graceMs);
    }
    if (!isAnnounced) return "unknown";
    if (!hasCome) await answered(silenceMs + this.#times.graceMs);
    // A server that was started anew meanwhile has forgotten the question.
    const isSame = this.#session.observer?.token.equals(token) ?? false;
    return hasCome ? "came" : isSame ? "missing" : "unknown";
  }
}

function disposable(socket: DatagramSocket): DatagramSocket & Disposable {
  return Object.assign(socket, { [Symbol.dispose]: () => socket.close() });
}
