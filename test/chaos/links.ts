// The network of a run: a TCP proxy between each client and the server, and a packet filter for the datagrams between clients.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, connect as dial, type Server, type Socket } from "node:net";

const HOST = "127.0.0.1";

/** How a link is broken: connections reset, new ones refused as well, or everything swallowed and nothing closed. */
export const CUTS = ["reset", "refused", "swallowed"] as const;
export type Cut = (typeof CUTS)[number];

interface Pair {
  readonly near: Socket;
  far: Socket | undefined;
}

/** One client's way to the server. */
export class Link {
  readonly port: number;
  readonly #server: Server;
  readonly #target: () => number;
  readonly #pairs = new Set<Pair>();
  /** Several faults may hold the link at once: it is whole when none does. */
  readonly #cuts: Cut[] = [];

  /** @param target the server's port, asked at each connection */
  static async open(target: () => number): Promise<Link> {
    const server = createServer({ pauseOnConnect: true });
    server.listen(0, HOST);
    await once(server, "listening");
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("no port for a link");
    return new Link(server, address.port, target);
  }

  private constructor(server: Server, port: number, target: () => number) {
    this.#server = server;
    this.port = port;
    this.#target = target;
    server.on("connection", (near) => this.#accept(near));
  }

  cut(cut: Cut): void {
    this.#cuts.push(cut);
    if (cut === "swallowed") for (const pair of this.#pairs) hold(pair);
    else for (const pair of this.#pairs) this.#reset(pair);
  }

  mend(cut: Cut): void {
    this.#cuts.splice(this.#cuts.indexOf(cut), 1);
    if (!this.#cuts.includes("swallowed")) for (const pair of this.#pairs) this.#pass(pair);
  }

  close(): void {
    this.#server.close();
    for (const pair of this.#pairs) this.#reset(pair);
  }

  #accept(near: Socket): void {
    const pair: Pair = { near, far: undefined };
    near.on("error", () => {});
    if (this.#cuts.includes("refused")) {
      near.resetAndDestroy();
      return;
    }
    this.#pairs.add(pair);
    near.once("close", () => this.#closed(pair));
    if (!this.#cuts.includes("swallowed")) this.#pass(pair);
  }

  #pass(pair: Pair): void {
    if (pair.far === undefined) {
      pair.far = dial(this.#target(), HOST);
      pair.far.on("error", () => pair.near.resetAndDestroy()).once("close", () => this.#closed(pair));
    }
    pair.near.pipe(pair.far).pipe(pair.near);
  }

  #closed(pair: Pair): void {
    this.#pairs.delete(pair);
    pair.near.destroy();
    pair.far?.destroy();
  }

  #reset(pair: Pair): void {
    pair.far?.resetAndDestroy();
    pair.near.resetAndDestroy();
  }
}

/** Nothing is read from either side, so nothing is noticed by either: the kernel keeps what comes. */
function hold({ near, far }: Pair): void {
  if (far === undefined) return;
  near.unpipe(far).pause();
  far.unpipe(near).pause();
}

/** Datagrams that are lost on arrival: those from a port, those to a port, or a percentage of all. */
export type Loss = { readonly from: number } | { readonly to: number } | { readonly percent: number };

/** nftables in this network namespace, which has to be the run's own. */
export class DatagramFilter {
  readonly #losses: Loss[] = [];
  #updates: Promise<void> = Promise.resolve();

  lose(loss: Loss): Promise<void> {
    this.#losses.push(loss);
    return this.#update();
  }

  mend(loss: Loss): Promise<void> {
    this.#losses.splice(this.#losses.indexOf(loss), 1);
    return this.#update();
  }

  // The whole table each time, in one transaction of nft's: no state to keep in step.
  #update(): Promise<void> {
    const rules = this.#losses.map((loss) => `udp ${condition(loss)} drop`).join("\n");
    const table = `table inet chaos {
      }
      delete table inet chaos
      table inet chaos {
        chain arrival {
          type filter hook input priority 0
          ${rules}
        }
      }\n`;
    this.#updates = this.#updates.then(() => nft(table));
    return this.#updates;
  }
}

function condition(loss: Loss): string {
  if ("from" in loss) return `sport ${loss.from}`;
  if ("to" in loss) return `dport ${loss.to}`;
  return `dport 1-65535 numgen random mod 100 < ${loss.percent}`;
}

/** Runs a script of nft's. @param inside the words before a command of another host. @throws Error with what nft says */
export async function nft(script: string, inside: readonly string[] = []): Promise<void> {
  const [file = "", ...words] = [...inside, "nft", "-f", "-"];
  const child = spawn(file, words, { stdio: ["pipe", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (chunk) => (said += chunk));
  child.stdin.on("error", () => {}).end(script);
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`nft: ${said.trim() || `ended with ${code}`}`);
}
