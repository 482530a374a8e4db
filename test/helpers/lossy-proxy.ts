// A hostile network between real sockets: datagrams to the proxy's port go on to the target, and back, each of them lost,
// repeated or held up as a seeded generator says.
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";

export interface Weather {
  /** Fractions of all datagrams, each way. */
  readonly loss: number;
  readonly repeated: number;
  /** Milliseconds at most; short ones overtake long ones. */
  readonly delay: number;
}

const HOST = "127.0.0.1";

export class LossyProxy {
  readonly port: number;
  weather: Weather;
  readonly #target: number;
  readonly #front: Socket;
  readonly #backs = new Map<number, Socket>(); // by the caller's port: the target sees callers apart
  #state: number;

  static async to(target: number, weather: Weather, seed = 1): Promise<LossyProxy> {
    const front = createSocket("udp4");
    front.bind(0, HOST);
    await once(front, "listening");
    return new LossyProxy(front, target, weather, seed);
  }

  private constructor(front: Socket, target: number, weather: Weather, seed: number) {
    this.#front = front;
    this.#target = target;
    this.weather = weather;
    this.#state = seed;
    this.port = front.address().port;
    front.on("message", (datagram, { port }) => this.#pass(this.#back(port), datagram, this.#target));
  }

  close(): void {
    for (const socket of [this.#front, ...this.#backs.values()]) socket.close();
    this.#backs.clear();
  }

  #back(port: number): Socket {
    let back = this.#backs.get(port);
    if (!back) {
      back = createSocket("udp4");
      back.bind(0, HOST);
      back.on("message", (datagram) => this.#pass(this.#front, datagram, port));
      this.#backs.set(port, back);
    }
    return back;
  }

  #pass(socket: Socket, datagram: Buffer, port: number): void {
    if (this.#random() < this.weather.loss) return;
    const copies = this.#random() < this.weather.repeated ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      setTimeout(() => {
        try {
          socket.send(datagram, port, HOST);
        } catch {
          // closed meanwhile: one more lost datagram
        }
      }, this.#random() * this.weather.delay);
    }
  }

  // Park and Miller's generator: the weather of a seed is the same each time, as far as timing allows.
  #random(): number {
    this.#state = (this.#state * 48_271) % 2_147_483_647;
    return this.#state / 2_147_483_647;
  }
}
