// Trust on first use, as ssh's known_hosts: the key under which each name of each server was first met, and the certificate of
// each server. A changed one is refused; only the user can forget the old one.

import { TalkError } from "../base/errors.ts";
import { foldName } from "../base/names.ts";
import { canonicalServer } from "../base/server-address.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import { decodeBase64, KEY_BYTES } from "../crypto/signed-statements.ts";
import { PinFile, type PinFormat } from "./pin-file.ts";
import { knownPeersFile, knownServersFile, verifiedFile } from "./state-paths.ts";

/** A remembered key. */
export interface KnownPeer {
  /** "HOST:PORT" of the server on which the name is bound. */
  readonly server: string;
  /** The name, folded. */
  readonly name: string;
  readonly fingerprint: string;
  /** The user has compared it with its owner (`ptalk key verify`). */
  readonly verified: boolean;
}

const PEERS: PinFormat = {
  subject: (text) => /^[^/]+\/[^/]+$/.test(text),
  spelling: (text) => {
    const [server = "", name = ""] = text.split("/");
    return subjectOf(canonicalServer(server), name);
  },
  value: (text) => decodeBase64(text, KEY_BYTES) !== null,
  shown: "SERVER/NAME KEY",
};
const SERVERS: PinFormat = {
  subject: (text) => !text.includes("/"),
  spelling: canonicalServer,
  value: (text) => /^SHA256:[A-Za-z0-9+/]{43}$/.test(text),
  shown: "HOST:PORT SHA256:FINGERPRINT",
};

/** Names are given folded (foldIfValid in base/names.ts), but for {@link KnownPeers.forget}. */
export class KnownPeers {
  readonly #pins: PinFile;
  /** Those that were compared: they count while they are the remembered ones. */
  readonly #verified: PinFile;

  /** @param stateDir folder of the file known_peers; made when the first key is remembered */
  constructor(stateDir: string) {
    this.#pins = new PinFile(knownPeersFile(stateDir), PEERS);
    this.#verified = new PinFile(verifiedFile(stateDir), PEERS);
  }

  /**
   * Holds a key against the remembered one.
   * @param key base64 of the 32-byte public key
   * @returns "known" if they agree, "new" if nothing is remembered of that name
   * @throws TalkError key-mismatch with both fingerprints
   */
  check(server: string, name: string, key: string): "known" | "new" {
    const subject = subjectOf(server, name);
    if (this.#pins.agrees(subject, key)) return "known";
    const pinned = this.#pins.get(subject);
    if (pinned === undefined) return "new";
    if (pinned !== key) throw mismatch(name, pinned, key);
    return "known";
  }

  /** Whether a key is remembered of that name, whichever it is. */
  has(server: string, name: string): boolean {
    return this.#pins.get(subjectOf(server, name)) !== undefined;
  }

  /** Remembers the key if none is remembered. @throws TalkError key-mismatch if another one is (or wins the race) */
  remember(server: string, name: string, key: string): void {
    const subject = subjectOf(server, name);
    if (this.#pins.agrees(subject, key)) return;
    const pinned = this.#pins.pin(subject, key);
    if (pinned !== key) throw mismatch(name, pinned, key);
  }

  /** Remembers another key than before. @throws TalkError key-mismatch if another process was quicker, with a third one */
  replace(server: string, name: string, key: string): void {
    const subject = subjectOf(server, name);
    this.#pins.forget(subject);
    this.#verified.forget(subject);
    this.remember(server, name, key);
  }

  /** Forgets the name, in any spelling, on every server, or on one. @returns what was forgotten */
  forget(name: string, server?: string): KnownPeer[] {
    const folded = foldName(name);
    const doomed = this.list().filter(
      (peer) => peer.name === folded && (server === undefined || peer.server === server),
    );
    for (const peer of doomed) {
      this.#pins.forget(subjectOf(peer.server, peer.name));
      this.#verified.forget(subjectOf(peer.server, peer.name));
    }
    return doomed;
  }

  /** The remembered key, base64. */
  keyOf({ server, name }: Pick<KnownPeer, "server" | "name">): string | undefined {
    return this.#pins.get(subjectOf(server, name));
  }

  /** The user has compared the remembered key with its owner. */
  markVerified(peer: Pick<KnownPeer, "server" | "name">): void {
    const key = this.keyOf(peer);
    if (key === undefined) return;
    const subject = subjectOf(peer.server, peer.name);
    if (this.#verified.get(subject) !== key) this.#verified.forget(subject); // another one was, before it was forgotten elsewhere
    this.#verified.pin(subject, key);
  }

  list(): KnownPeer[] {
    return this.#pins.entries().map(([subject, key]) => {
      const [server = "", peer = ""] = subject.split("/"); // neither a server nor a name has one
      return { server, name: peer, fingerprint: fingerprintOf(key), verified: this.#verified.get(subject) === key };
    });
  }
}

/** The certificates of servers that are not on loopback: their fingerprints, by "HOST:PORT". */
export class KnownServers {
  readonly #pins: PinFile;
  constructor(stateDir: string) {
    this.#pins = new PinFile(knownServersFile(stateDir), SERVERS);
  }

  /** Remembers the certificate if none is remembered. @throws TalkError refused if the server showed another one before */
  remember(server: string, certificate: string): void {
    agree(server, this.#pins.pin(server, certificate), certificate);
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

const subjectOf = (server: string, name: string): string => `${server}/${name}`;

const mismatch = (name: string, known: string, offered: string): TalkError =>
  TalkError.keyMismatch(name, fingerprintOf(known), fingerprintOf(offered));

const fingerprintOf = (key: string): string => fingerprint(Buffer.from(key, "base64"));
