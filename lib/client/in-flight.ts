// Messages on their way, by whom they are for: when a peer turns up at another place (it was restarted, it has changed
// networks), what is on its way to the old place follows it. Knows nothing of names' trust or of the server.
import { foldName } from "../base/names.ts";
import type { DirectoryEntry } from "../directory/entry.ts";
import type { PeerTransport } from "../peer/transport.ts";
import type { PeerIdentity } from "../peer/types.ts";

interface Journey {
  record: DirectoryEntry;
  /** Messages on their way. */
  count: number;
}

export class InFlight {
  readonly #transport: Pick<PeerTransport, "move">;
  // As many as there are sends under way, whose number TalkClient bounds.
  readonly #journeys = new Map<string, Journey>();

  constructor(transport: Pick<PeerTransport, "move">) {
    this.#transport = transport;
  }

  /** Runs one send to where the record says. */
  async to<T>(record: DirectoryEntry, send: (peer: PeerIdentity) => Promise<T>): Promise<T> {
    const name = foldName(record.name);
    const journey = this.#journeys.get(name) ?? { record, count: 0 };
    this.#journeys.set(name, journey);
    this.follow(record); // what is on its way to an older place goes on to this one, and first
    journey.record = record;
    journey.count++;
    try {
      return await send(peerOf(record));
    } finally {
      if (--journey.count === 0) this.#journeys.delete(name);
    }
  }

  /** Folded names of those for whom something is on its way. */
  names(): string[] {
    return [...this.#journeys.keys()];
  }

  /** The directory says where somebody is now. Another key is another program: nothing of ours is for it. */
  follow(record: DirectoryEntry): void {
    const journey = this.#journeys.get(foldName(record.name));
    if (!journey || journey.record === record || journey.record.key !== record.key) return;
    const [from, to] = [peerOf(journey.record), peerOf(record)];
    journey.record = record;
    this.#transport.move(to.key, from.endpoints, to.endpoints);
  }
}

const peerOf = ({ key, name, endpoints }: DirectoryEntry): PeerIdentity => ({
  key: Buffer.from(key, "base64"),
  endpoints,
  name,
});
