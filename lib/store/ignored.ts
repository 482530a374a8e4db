// Whom this user ignores: by uid where the server's kernel vouched for one, else by key and name. A file of pins, so that all
// programs of the user have one list, and none of them writes over what another has added.
import { foldName } from "../base/names.ts";
import { decodeBase64, KEY_BYTES } from "../crypto/signed-statements.ts";
import { PinFile, type PinFormat } from "./pin-file.ts";
import { ignoredFile } from "./state-paths.ts";

/** Milliseconds after which the file is looked at again: another program may have changed it. */
const LOOK_MS = 1_000;

/** A sender, as far as it is known. */
export interface Sender {
  /** Folded. */
  readonly name: string;
  /** Base64; null where none is known. */
  readonly key: string | null;
  /** Only an attested one, else null. */
  readonly uid: number | null;
}

const ANY_KEY = "any";
const VALUE = /^([A-Za-z0-9+/=]+)(?::(0|[1-9]\d{0,9}))?$/;
const FORMAT: PinFormat = {
  subject: (text) => !text.includes("/"),
  spelling: foldName,
  value: (text) => {
    const key = VALUE.exec(text)?.[1];
    return key === ANY_KEY || (key !== undefined && decodeBase64(key, KEY_BYTES) !== null);
  },
  shown: "NAME KEY[:UID]",
};

export class IgnoreList {
  readonly #pins: PinFile;
  #entries: readonly Sender[] = [];
  #lookedAt = Number.NEGATIVE_INFINITY;
  #hasWarned = false;

  /** @param stateDir folder of the file; made when the first one is ignored */
  constructor(stateDir: string) {
    this.#pins = new PinFile(ignoredFile(stateDir), FORMAT);
  }

  /** @throws TalkError bad-config for a file that cannot be read; the system's error for one that cannot be written */
  add({ name, key, uid }: Sender): void {
    this.#pins.forget(name); // it may have another key now
    this.#pins.pin(name, `${key ?? ANY_KEY}${uid === null ? "" : `:${uid}`}`);
    this.#lookedAt = Number.NEGATIVE_INFINITY;
  }

  /** @returns whether it was ignored. @throws as add() */
  remove(name: string): boolean {
    this.#lookedAt = Number.NEGATIVE_INFINITY;
    return this.#pins.forget(name);
  }

  /** Folded names, in the order in which they were ignored. @throws as add() */
  names(): string[] {
    this.#lookedAt = Number.NEGATIVE_INFINITY; // has() is not to contradict it
    return this.#pins.entries().map(([name]) => name);
  }

  /** Whether what this sender writes is declined. At most LOOK_MS old; of a file that cannot be read the state before. */
  has(sender: Sender): boolean {
    this.#look();
    return this.#entries.some((entry) => isSame(entry, sender));
  }

  #look(): void {
    const now = performance.now();
    if (now - this.#lookedAt < LOOK_MS) return;
    this.#lookedAt = now;
    try {
      this.#entries = this.#pins.entries().map(([name, value]) => {
        const [, key = ANY_KEY, uid] = VALUE.exec(value) ?? [];
        return { name, key: key === ANY_KEY ? null : key, uid: uid === undefined ? null : Number(uid) };
      });
    } catch (error) {
      if (this.#hasWarned) return;
      this.#hasWarned = true;
      const reason = error instanceof Error ? error.message : String(error);
      process.emitWarning(`whom you ignore cannot be read: ${reason}`, { code: "PTALK_NOT_IGNORED" });
    }
  }
}

/** A uid that is known of both decides; another name or another key does not help its user, and harms nobody else. */
function isSame(entry: Sender, sender: Sender): boolean {
  if (entry.uid !== null && sender.uid !== null) return entry.uid === sender.uid;
  return entry.name === sender.name || (entry.key !== null && entry.key === sender.key);
}
