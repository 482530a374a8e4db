// Trust on first use, as ssh's known_hosts: the key under which each name of each directory was first met, and the certificate of
// each server. A changed one is refused; only the user can forget the old one. A directory is known by its id (known-directories.ts), or by its
// server's address.
import { TalkError } from "../base/errors.ts";
import { isFingerprint } from "../base/fingerprint-text.ts";
import { foldName } from "../base/names.ts";
import { canonicalServer } from "../base/server-address.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import { decodeBase64, KEY_BYTES } from "../crypto/signed-statements.ts";
import { isHostId, isKeptId } from "../directory/directory-id.ts";
import { KnownDirectories, type PinScope } from "./known-directories.ts";
import { PinFile, type PinFormat } from "./pin-file.ts";
import { knownPeersFile, knownServersFile, verifiedFile } from "./state-paths.ts";

/** A remembered key. */
export interface KnownPeer {
  /** "HOST:PORT" of the server on which the name is bound: where it was met last. */
  readonly server: string;
  /** The name, folded. */
  readonly name: string;
  readonly fingerprint: string;
  /** The user has compared it with its owner (`ptalk key verify`). */
  readonly verified: boolean;
  /** Id of the server's directory; null for a server that is known by its address. */
  readonly directory: string | null;
}

/** Where a name is looked for; a text alone: under that, "HOST:PORT" or the id of a directory. */
type Scope = PinScope | string;

const PEERS: PinFormat = {
  subject: (text) => /^[^/]+\/[^/]+$/.test(text),
  spelling: (text) => {
    const [under = "", name = ""] = text.split("/");
    return subjectOf(isDirectoryId(under) ? under : canonicalServer(under), name);
  },
  value: (text) => decodeBase64(text, KEY_BYTES) !== null,
  shown: "SERVER/NAME KEY",
};
const SERVERS: PinFormat = {
  subject: (text) => !text.includes("/"),
  spelling: canonicalServer,
  value: isFingerprint,
  shown: "HOST:PORT SHA256:FINGERPRINT",
};

/** Names are given folded (foldIfValid in base/names.ts), but for {@link KnownPeers.forget}. */
export class KnownPeers {
  readonly #pins: PinFile;
  /** Those that were compared: they count while they are the remembered ones. */
  readonly #verified: PinFile;
  readonly #directories: KnownDirectories;

  /** @param stateDir folder of the file known_peers; made when the first key is remembered */
  constructor(stateDir: string) {
    this.#pins = new PinFile(knownPeersFile(stateDir), PEERS);
    this.#verified = new PinFile(verifiedFile(stateDir), PEERS);
    this.#directories = new KnownDirectories(stateDir);
  }

  /**
   * Holds a key against the remembered one. One that the directory had at this address before, under another id, is remembered under its id now.
   * @param key base64 of the 32-byte public key
   * @returns "known" if they agree, "new" if nothing is remembered of that name
   * @throws TalkError key-mismatch with both fingerprints
   */
  check(scope: Scope, name: string, key: string): "known" | "new" {
    const subject = subjectOf(currentOf(scope), name);
    if (this.#pins.agrees(subject, key)) return "known";
    const pinned = this.#pins.get(subject);
    if (pinned !== undefined && pinned !== key) throw mismatch(name, pinned, key);
    if (pinned !== undefined) return "known";
    const before = this.#formerOf(scope, name);
    if (before.length === 0) return "new";
    const other = before.find((former) => this.#pins.get(former) !== key);
    if (other !== undefined) throw mismatch(name, this.#pins.get(other) ?? "", key);
    this.#adopt(subject, key, before);
    return "known";
  }

  /** Whether a key is remembered of that name, whichever it is. */
  has(scope: Scope, name: string): boolean {
    return this.keyFor(scope, name) !== undefined;
  }

  /** The remembered key (base64), if there is one. */
  keyFor(scope: Scope, name: string): string | undefined {
    const key = this.#pins.get(subjectOf(currentOf(scope), name));
    if (key !== undefined) return key;
    const [former] = this.#formerOf(scope, name);
    return former && this.#pins.get(former);
  }

  /** Remembers the key if none is remembered. @throws TalkError key-mismatch if another one is (or wins the race) */
  remember(scope: Scope, name: string, key: string): void {
    if (this.check(scope, name, key) === "known") return;
    const pinned = this.#pins.pin(subjectOf(currentOf(scope), name), key);
    if (pinned !== key) throw mismatch(name, pinned, key);
  }

  /** Remembers another key than before. @throws TalkError key-mismatch if another process was quicker, with a third one */
  replace(scope: Scope, name: string, key: string): void {
    for (const subject of [subjectOf(currentOf(scope), name), ...this.#formerOf(scope, name)]) {
      this.#pins.forget(subject);
      this.#verified.forget(subject);
    }
    this.remember(scope, name, key);
  }

  /** Forgets the name, in any spelling, on every server, or on one. @returns what was forgotten */
  forget(name: string, server?: string): KnownPeer[] {
    const folded = foldName(name);
    const doomed = this.#all().filter(
      (peer) => peer.name === folded && (server === undefined || this.isAt(peer, server)),
    );
    for (const peer of doomed) {
      this.#pins.forget(subjectIn(peer));
      this.#verified.forget(subjectIn(peer));
    }
    return withoutRepeats(doomed);
  }

  /** The remembered key, base64. */
  keyOf(peer: Pick<KnownPeer, "server" | "directory" | "name">): string | undefined {
    return this.#pins.get(subjectIn(peer));
  }

  /** The user has compared the remembered key with its owner. */
  markVerified(peer: Pick<KnownPeer, "server" | "directory" | "name">): void {
    const key = this.keyOf(peer);
    if (key === undefined) return;
    const subject = subjectIn(peer);
    if (this.#verified.get(subject) !== key) this.#verified.forget(subject); // another one was, before it was forgotten elsewhere
    this.#verified.pin(subject, key);
  }

  list(): KnownPeer[] {
    return withoutRepeats(this.#all());
  }

  /** Whether the directory of that key was met at this address. */
  isAt({ server: latest, directory }: KnownPeer, server: string): boolean {
    return (
      latest === server ||
      (directory !== null && this.#directories.addresses().get(directory)?.includes(server) === true)
    );
  }

  #all(): KnownPeer[] {
    const addresses = this.#directories.addresses();
    return this.#pins.entries().map(([subject, key]) => {
      const [under = "", name = ""] = subject.split("/"); // neither a server nor a name has one
      const directory = isDirectoryId(under) ? under : null;
      const server = (directory && addresses.get(directory)?.at(-1)) ?? under;
      const verified = this.#verified.get(subject) === key;
      return { server, name, fingerprint: fingerprintOf(key), verified, directory };
    });
  }

  /** Subjects of the name, with a key, that stand under what this address was known by before. */
  #formerOf(scope: Scope, name: string): string[] {
    if (typeof scope === "string") return [];
    return scope.former.map((under) => subjectOf(under, name)).filter((one) => this.#pins.get(one) !== undefined);
  }

  #adopt(subject: string, key: string, before: readonly string[]): void {
    try {
      this.#pins.pin(subject, key);
      if (before.some((former) => this.#verified.get(former) === key)) this.#verified.pin(subject, key);
    } catch {
      // It cannot be written now: what stands under the former one goes on to count.
    }
  }
}

/** The certificates of servers that are not on loopback: their fingerprints, by "HOST:PORT". */
export class KnownServers {
  readonly #pins: PinFile;
  constructor(stateDir: string) {
    this.#pins = new PinFile(knownServersFile(stateDir), SERVERS);
  }

  /**
   * Remembers the certificate if none is remembered.
   * @returns whether there was none
   * @throws TalkError refused if the server showed another one before
   */
  remember(server: string, certificate: string): boolean {
    const isNew = this.#pins.get(server) === undefined;
    agree(server, this.#pins.pin(server, certificate), certificate);
    return isNew;
  }

  /** The remembered one, null if there is none. */
  of(server: string): string | null {
    return this.#pins.get(server) ?? null;
  }

  /** @throws TalkError refused if another one is remembered */
  check(server: string, certificate: string): void {
    agree(server, this.#pins.get(server) ?? certificate, certificate);
  }

  /** In any spelling. @returns whether there was one */
  forget(server: string): boolean {
    return this.#pins.forget(canonicalServer(server));
  }

  list(): { server: string; certificate: string }[] {
    return this.#pins.entries().map(([server, certificate]) => ({ server, certificate }));
  }
}

function agree(server: string, pinned: string, certificate: string): void {
  if (pinned === certificate) return;
  throw new TalkError(
    "refused",
    `the certificate of ${server} has changed: known ${pinned}, offered ${certificate}. Somebody may be pretending to be the server`,
    { remedy: "forget-certificate", subject: server },
  );
}

const subjectOf = (under: string, name: string): string => `${under}/${name}`;
const subjectIn = ({ directory, server, name }: Pick<KnownPeer, "server" | "directory" | "name">): string =>
  subjectOf(directory ?? server, name);
const currentOf = (scope: Scope): string => (typeof scope === "string" ? scope : scope.current);
const isDirectoryId = (text: string): boolean => isKeptId(text) || isHostId(text);

/** What an older version remembered under the address is the same key under the directory's id. */
function withoutRepeats(peers: readonly KnownPeer[]): KnownPeer[] {
  const isSame = (a: KnownPeer, b: KnownPeer): boolean =>
    a.server === b.server && a.name === b.name && a.fingerprint === b.fingerprint;
  return peers.filter(
    (peer) => peer.directory !== null || !peers.some((other) => other.directory && isSame(peer, other)),
  );
}

const mismatch = (name: string, known: string, offered: string): TalkError =>
  TalkError.keyMismatch(name, fingerprintOf(known), fingerprintOf(offered));

const fingerprintOf = (key: string): string => fingerprint(Buffer.from(key, "base64"));
