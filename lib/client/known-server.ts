// What this user remembers of the server that a connection leads to: its certificate, and its directory with the server's key. Refuses what has
// changed, and tells what is new, once, as ssh does.

import { TalkError } from "../base/errors.ts";
import { formatServerAddress, isLoopback, type ServerAddress } from "../base/server-address.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import { isKeptId } from "../directory/directory-id.ts";
import { KnownDirectories, type MetServer, type PinScope } from "../store/known-directories.ts";
import { KnownServers } from "../store/known-peers.ts";

export class KnownServer {
  readonly #address: ServerAddress;
  readonly #server: string;
  readonly #together: readonly ServerAddress[];
  readonly #certificates: KnownServers;
  readonly #directories: KnownDirectories;
  #hasToldCertificate = false;

  /** @param together servers that the user has named in one list: they may share a directory */
  constructor(stateDir: string, address: ServerAddress, together: readonly ServerAddress[] = []) {
    this.#address = address;
    this.#server = formatServerAddress(address);
    this.#together = together;
    this.#certificates = new KnownServers(stateDir);
    this.#directories = new KnownDirectories(stateDir);
  }

  /** @throws TalkError refused for another certificate than before */
  checkCertificate(certificate: Buffer): void {
    const print = fingerprint(certificate);
    if (!this.#certificates.remember(this.#server, print)) return;
    this.#hasToldCertificate = true;
    tell(`first contact with ${this.#server}: its certificate is ${print}`);
  }

  /** @returns where names of its directory are remembered. @throws TalkError refused */
  identify(met: MetServer): PinScope {
    const { scope, isNewKey } = this.#directories.meet(met, this.#together);
    // On this host the kernel tells whose server it is; a certificate was shown already.
    if (isNewKey && !this.#hasToldCertificate && !isLoopback(this.#address.host)) {
      tell(`first contact with ${this.#server}: its key is ${fingerprint(Buffer.from(met.serverKey, "base64"))}`);
    }
    return scope;
  }

  /**
   * Remembers what another server of the directory says of this one, like a first contact.
   * @throws TalkError refused: something else is known of it
   */
  trust({ certificate, key }: { readonly certificate: string | null; readonly key: string }, directory: string): void {
    if (!isKeptId(directory)) return; // of a host's default server, which shares it with none
    this.#directories.meet({ address: this.#address, directory, serverKey: key, isDirect: true }, this.#together);
    if (certificate !== null && !isLoopback(this.#address.host)) this.#certificates.remember(this.#server, certificate);
  }

  /** @param told null: it was said to show none. @throws TalkError refused */
  checkTold(certificate: Buffer, told: string | null): void {
    if (fingerprint(certificate) !== told) throw this.#notTold();
    this.checkCertificate(certificate);
  }

  /** @returns as identify(). @throws TalkError refused */
  identifyTold(met: MetServer, key: string, directory: string): PinScope {
    if (!met.isDirect || met.serverKey !== key || met.directory !== directory) throw this.#notTold();
    return this.identify(met);
  }

  #notTold(): TalkError {
    return new TalkError(
      "refused",
      `what answers at ${this.#server} is not the server of the directory that was told of`,
      {
        ...{ remedy: "forget-certificate", subject: this.#server },
      },
    );
  }

  /** As identify(), for a client that only reads: remembers nothing. @throws TalkError refused */
  check(met: MetServer): void {
    this.#directories.check(met, this.#together);
  }
}

function tell(text: string): void {
  process.emitWarning(text, { code: "PTALK_FIRST_CONTACT" });
}
