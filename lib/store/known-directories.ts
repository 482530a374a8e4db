// Which directory answers at which address: its id and its server's key, trusted on first use. What is remembered of names stands under the id
// (known-peers.ts), so two addresses of one server share it, and a server that moves keeps it.
//
//  1. An id belongs to the key that first showed it. Another server that repeats it is refused: it cannot sign with that key.
//     Servers that a user names in one list may share a directory: each shows its id with its own key, which is remembered for its address.
//     So may servers of which one that is known has told.
//  2. An address that answers as another directory than before keeps the keys of the one before: a server that makes up a new id does not get rid
//     of the keys that speak against it.
//  3. The id of a host's default server has no key (it is a new one at each start). It counts on that host alone; a server elsewhere that says it, or that
//     somebody stands before, is known by its address.
import { TalkError } from "../base/errors.ts";
import { canonicalServer, formatServerAddress, isLoopback, type ServerAddress } from "../base/server-address.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import { decodeBase64, KEY_BYTES } from "../crypto/signed-statements.ts";
import { hostDirectoryId, isHostId, isKeptId } from "../directory/directory-id.ts";
import { PinFile, type PinFormat } from "./pin-file.ts";
import { knownDirectoriesFile } from "./state-paths.ts";

/** In the place of a key. */
const OF_HOST = "host";

const DIRECTORIES: PinFormat = {
  subject: (text) => /^[^@/]+@[^/]+$/.test(text),
  spelling: (text) => text,
  value: (text) => text === OF_HOST || decodeBase64(text, KEY_BYTES) !== null,
  shown: "ID@HOST:PORT KEY",
};

/** Where what is remembered of names stands: under `current`; what the others say holds as well. */
export interface PinScope {
  readonly current: string;
  readonly former: readonly string[];
}

/** What a server has said and proved of itself. */
export interface MetServer {
  readonly address: ServerAddress;
  readonly directory: string;
  /** base64 */
  readonly serverKey: string;
  /** It has signed for this very connection. */
  readonly isDirect: boolean;
}

/** A directory at an address. */
interface Place {
  readonly id: string;
  /** As in the file. */
  readonly place: string;
  readonly key: string;
}

export class KnownDirectories {
  readonly #pins: PinFile;

  constructor(stateDir: string) {
    this.#pins = new PinFile(knownDirectoriesFile(stateDir), DIRECTORIES);
  }

  /**
   * Remembers which directory this is.
   * @param together servers that may share it
   * @returns where names of it are remembered; whether this key of a server was never met before
   * @throws TalkError refused for an id that belongs to another key
   */
  meet(
    server: MetServer,
    together: readonly ServerAddress[] = [],
  ): { readonly scope: PinScope; readonly isNewKey: boolean } {
    const place = placeOf(server.address);
    const places = this.#places();
    const key = keyOf(server, places, together);
    const ids = places.filter((known) => known.place === place).map((known) => known.id);
    if (key === null) return { scope: scopeAt(server.address, ids), isNewKey: false };
    const isNewKey = key !== OF_HOST && !places.some((known) => known.key === key);
    const held = this.#pins.pin(`${server.directory}@${place}`, key);
    if (held !== key) throw otherKey(server.directory, held, key); // another process was quicker
    return { scope: scopeAt(server.address, ids, server.directory), isNewKey };
  }

  /** As meet(), and remembers nothing. @throws TalkError refused */
  check(server: MetServer, together: readonly ServerAddress[] = []): void {
    keyOf(server, this.#places(), together);
  }

  /** Servers that share a directory with the one at that address, as far as they were met, or told of: each with its own key. */
  beside(address: ServerAddress): { readonly directory: string; readonly server: string; readonly key: string }[] {
    const places = this.#places();
    const here = placeOf(address);
    const [home, host] = [places.findLast(({ place, id }) => place === here && isKeptId(id)), hostDirectoryId()];
    if (home === undefined) return [];
    // With the same key it is the same server, at an address that it had or has.
    const others = places.filter(({ id, key }) => id === home.id && key !== home.key);
    const reachable = others.filter(({ place }) => !place.includes("@") || place.endsWith(`@${host}`));
    return reachable.map(({ place, key }) => ({ directory: home.id, server: addressIn(place), key }));
  }

  /** Those at an address in any spelling, or of an id. @returns whether there were any */
  forget(what: string): boolean {
    const server = canonicalServer(what);
    const doomed = this.#places().filter(({ id, place }) => id === what || addressIn(place) === server);
    for (const { id, place } of doomed) this.#pins.forget(`${id}@${place}`);
    return doomed.length > 0;
  }

  /** By id: "HOST:PORT" of each address at which the directory was met, the latest last. */
  addresses(): ReadonlyMap<string, readonly string[]> {
    const found = new Map<string, string[]>();
    for (const { id, place } of this.#places()) {
      const addresses = found.get(id);
      if (addresses === undefined) found.set(id, [addressIn(place)]);
      else addresses.push(addressIn(place));
    }
    return found;
  }

  /** @throws TalkError bad-config for a file that cannot be read to its end */
  checkFile(): void {
    this.#places();
  }

  #places(): Place[] {
    return this.#pins.entries().map(([subject, key]) => {
      const at = subject.indexOf("@");
      return { id: subject.slice(0, at), place: subject.slice(at + 1), key };
    });
  }
}

/**
 * The key that the id counts with here; null where the address is to count instead.
 * @throws TalkError refused
 */
function keyOf(
  { directory, serverKey, isDirect, address }: MetServer,
  places: readonly Place[],
  together: readonly ServerAddress[],
): string | null {
  if (!isDirect) return null;
  if (isHostId(directory)) return isLoopback(address.host) && directory === hostDirectoryId() ? OF_HOST : null;
  if (!isKeptId(directory)) return null;
  const here = placeOf(address);
  const met = places.filter(({ id }) => id === directory);
  const known = met.find(({ place }) => place === here) ?? met.find(({ key }) => key === serverKey) ?? met[0];
  if (known === undefined || known.key === serverKey) return serverKey;
  const shared = new Set(together.map(placeOf));
  const isBeside = known.place !== here && shared.has(here) && met.some(({ place }) => shared.has(place));
  if (!isBeside) throw otherKey(directory, known.key, serverKey);
  return serverKey;
}

/** @param ids of the directories that were met at the address */
function scopeAt(address: ServerAddress, ids: readonly string[], id?: string): PinScope {
  const server = formatServerAddress(address);
  const before = ids.filter((known) => known !== id);
  // Under the address stand keys of older versions, and of servers that no id tells apart.
  return id === undefined ? { current: server, former: before } : { current: id, former: [...before, server] };
}

/** A loopback address is another one on each host, and a home may be shared. */
function placeOf(address: ServerAddress): string {
  const server = formatServerAddress(address);
  return isLoopback(address.host) ? `${server}@${hostDirectoryId()}` : server;
}

const addressIn = (place: string): string => place.split("@")[0] ?? place;

function otherKey(id: string, known: string, offered: string): TalkError {
  const [before, now] = [known, offered].map((key) => fingerprint(Buffer.from(key, "base64")));
  return new TalkError(
    "refused",
    `the server calls itself the directory ${id}, which another server's key belongs to: known ${before}, offered ${now}. another program may be pretending to be it; servers that share a directory are named in one list, or tell of each other`,
    { remedy: "forget-certificate", subject: id },
  );
}
