// The hosts of a run with many servers, on one switch, and what is cut between them: a datagram and a segment of a cut pair are lost on
// arrival, on both sides, without a word. A host whose cable is pulled is cut from all.
import { execFileSync } from "node:child_process";
import { addSwitch, Host } from "../fixtures/hosts/hosts.js";
import { nft } from "./links.ts";

const SWITCH = "chaos0";
/** Where the run itself is plugged in: nothing cuts it off from hosts whose cable is in. */
const OWN = "10.77.0.254/16";
const DEVICE = "eth0";

export interface Place {
  readonly name: string;
  readonly address: string;
  readonly inside: readonly string[];
}

interface Plugged extends Place {
  readonly host: Host;
  /** Addresses that nothing arrives from; one stands here for each cut. */
  readonly cut: string[];
  pulled: number;
}

export class Network {
  readonly #hosts = new Map<string, Plugged>();
  #updates: Promise<void> = Promise.resolve();

  constructor() {
    addSwitch(SWITCH);
    execFileSync("ip", ["addr", "add", OWN, "dev", SWITCH]);
  }

  /** Of the names that begin with "e", "s" and "c" and have a number: one address each. */
  async add(name: string): Promise<Place> {
    const net = ["e", "s", "c"].indexOf(name.slice(0, 1)) + 1;
    const address = `10.77.${net}.${name.slice(1)}`;
    const host = await Host.start(name, SWITCH, `${address}/16`);
    const plugged: Plugged = { name, address, inside: host.inside, host, cut: [], pulled: 0 };
    this.#hosts.set(name, plugged);
    return plugged;
  }

  /** Objects in shared memory, "HOST:FILE". */
  leftBehind(): string[] {
    return [...this.#hosts.values()].flatMap(({ name, host }) =>
      host
        .run("ls", "/dev/shm")
        .split("\n")
        .filter((file) => file !== "")
        .map((file) => `${name}:${file}`),
    );
  }

  /** An object in shared memory that nobody removes: a planted fault. */
  leave(name: string, file: string): void {
    this.#host(name).host.run("touch", `/dev/shm/${file}`);
  }

  cut(some: readonly string[], others: readonly string[]): Promise<void> {
    return this.#change(some, others, (list, address) => void list.push(address));
  }
  mend(some: readonly string[], others: readonly string[]): Promise<void> {
    return this.#change(some, others, (list, address) => void list.splice(list.indexOf(address), 1));
  }

  /** Several may pull one: it is in again when all have put it back. */
  pull(name: string): void {
    const place = this.#host(name);
    if (place.pulled++ === 0) place.host.cable(DEVICE, false);
  }
  putBack(name: string): void {
    const place = this.#host(name);
    if (--place.pulled === 0) place.host.cable(DEVICE, true);
  }

  #change(
    some: readonly string[],
    others: readonly string[],
    apply: (list: string[], address: string) => void,
  ): Promise<void> {
    const touched = new Set<Plugged>();
    for (const a of some.map((name) => this.#host(name))) {
      for (const b of others.map((name) => this.#host(name))) {
        if (a === b) continue;
        apply(a.cut, b.address);
        apply(b.cut, a.address);
        touched.add(a).add(b);
      }
    }
    this.#updates = this.#updates.then(async () => void (await Promise.all([...touched].map(filter))));
    return this.#updates;
  }

  #host(name: string): Plugged {
    const host = this.#hosts.get(name);
    if (host === undefined) throw new Error(`no host ${name}`);
    return host;
  }
}

/** The whole table each time: no state to keep in step. */
function filter({ cut, inside }: Plugged): Promise<void> {
  const rules = [...new Set(cut)].map((address) => `ip saddr ${address} drop`).join("\n");
  return nft(
    `table ip chaos {
    }
    delete table ip chaos
    table ip chaos {
      chain arrival {
        type filter hook input priority 0
        ${rules}
      }
    }\n`,
    inside,
  );
}
