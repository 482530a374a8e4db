// test/fixtures/terminal/driver.js in a pseudo-terminal, driven from a test.
import { once } from "node:events";
import { rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Pty, type PtyOptions } from "./pty.ts";

const DRIVER = join(import.meta.dirname, "../fixtures/terminal/driver.js");
const UNDER_JOB_CONTROL = [
  "/bin/bash",
  "-c",
  'set -m; "$@"; echo "shell: $?"; while read -r line; do eval "$line"; done',
  "sh",
];
let count = 0;

export interface TalkScreenOptions extends PtyOptions {
  /** Under a shell with job control, which runs what is typed after the program has stopped. */
  readonly shell?: boolean;
  /** A command that runs the one given as its arguments. */
  readonly wrapper?: readonly string[];
}

export class TalkScreen extends Pty {
  readonly entered: string[] = [];
  ends = 0;
  #server: Server;
  #socket: Socket | undefined;
  #done: (() => void)[] = [];

  private constructor(path: string, server: Server, options: TalkScreenOptions) {
    const wrapper = options.shell ? UNDER_JOB_CONTROL : (options.wrapper ?? []);
    const [file = "", ...args] = [...wrapper, process.execPath, DRIVER, path];
    super(file, args, options);
    this.#server = server;
  }

  static async open(options: TalkScreenOptions = {}): Promise<TalkScreen> {
    const path = join(tmpdir(), `ptalk-screen-${process.pid}-${count++}`);
    rmSync(path, { force: true });
    const server = createServer().listen(path);
    await once(server, "listening");
    const screen = new TalkScreen(path, server, options);
    const ended = screen.ended.then(() => {
      throw new Error(`the screen's program has ended: ${screen.raw}`);
    });
    const adopted = once(server, "connection").then(([socket]) => screen.#adopt(socket as Socket));
    await Promise.race([adopted, ended]);
    ended.catch(() => {}); // that is the test's business from now on
    return screen;
  }

  /** Has the view do something; fulfilled when it has. */
  async does(method: string, ...args: unknown[]): Promise<void> {
    const done = new Promise<void>((resolve) => this.#done.push(resolve));
    this.#socket?.write(`${JSON.stringify({ does: method, args })}\n`);
    await done;
  }

  message(from: string, text: string): Promise<void> {
    return this.does("message", {
      id: "1",
      from,
      text,
      at: Date.now(),
      fingerprint: "SHA256:x",
      verified: true,
      room: null,
    });
  }

  override [Symbol.dispose](): void {
    super[Symbol.dispose]();
    this.#socket?.destroy();
    this.#server.close();
  }

  #adopt(socket: Socket): Promise<void> {
    this.#socket = socket.on("error", () => {});
    return new Promise((ready) => {
      createInterface({ input: socket }).on("line", (text) => {
        const event: { line?: string; end?: boolean; done?: string; ready?: boolean } = JSON.parse(text);
        if (event.line !== undefined) this.entered.push(event.line);
        if (event.end) this.ends++;
        if (event.done !== undefined) this.#done.shift()?.();
        if (event.ready) ready();
      });
    });
  }
}
