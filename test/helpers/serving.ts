// A lookup server of its own for a test file, in its own process, on a port that the system picks.
import { User } from "./cli.ts";
import type { Program } from "./program.ts";

export class Serving implements AsyncDisposable {
  readonly #owner: User;
  #program: Program;
  /** "127.0.0.1:PORT" */
  readonly address: string;

  private constructor(owner: User, program: Program, address: string) {
    this.#owner = owner;
    this.#program = program;
    this.address = address;
  }

  /** @param prefix words before the command (OwnShm) */
  static async start(listen = "127.0.0.1:0", prefix: readonly string[] = []): Promise<Serving> {
    const owner = new User({}, prefix);
    const program = owner.start(["serve", "--listen", listen, "--workers", "1"]);
    const [address = ""] = /127\.0\.0\.1:\d+$/.exec(await program.line()) ?? [];
    return new Serving(owner, program, address);
  }

  /** Kills it, and starts another one on its port. */
  async restart(): Promise<void> {
    await this.#program.kill();
    this.#program = this.#owner.start(["serve", "--listen", this.address, "--workers", "1"]);
    await this.#program.line();
  }

  /** Shuts it down in good order. */
  async stop(): Promise<void> {
    this.#program.child.kill("SIGTERM");
    await this.#program.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    this.#owner[Symbol.dispose]();
  }
}
