// Decides whether a sender's messages are taken at all, before anything else is asked or done: not those of ignored users, and of others
// as the user accepts them.
import { withTimeout } from "../base/async.ts";
import type { IgnoreList } from "../store/ignored.ts";
import type { AddressBook } from "./address-book.ts";
import type { Accept } from "./types.ts";

/** Milliseconds that a message waits for the server's word on whether its sender is attested. */
const PATIENCE_MS = 1_000;

export interface AdmissionParts {
  readonly accept: Accept;
  readonly ignored: Pick<IgnoreList, "has">;
  readonly book: Pick<AddressBook, "isKnown" | "isSuccessor" | "entryOf" | "lookup">;
}

export class Admission {
  readonly #parts: AdmissionParts;

  constructor(parts: AdmissionParts) {
    this.#parts = parts;
  }

  /**
   * @param name folded
   * @param key that the sender has proved to hold
   */
  admits(name: string, key: Buffer): boolean | Promise<boolean> {
    const { accept, ignored, book } = this.#parts;
    if (accept === "none") return false;
    const keyText = key.toString("base64");
    const uid = book.entryOf(name, keyText)?.uid ?? null;
    if (ignored.has({ name, key: keyText, uid })) return false;
    if (accept === "known") return book.isKnown(name, keyText) || book.isSuccessor(name, keyText);
    return accept === "all" || this.#isAttested(name, keyText);
  }

  async #isAttested(name: string, key: string): Promise<boolean> {
    const { book } = this.#parts;
    const asked = book.lookup(name).catch(() => null);
    const entry = book.entryOf(name, key) ?? (await withTimeout(PATIENCE_MS, asked, null));
    return entry?.key === key && entry.attested !== null;
  }
}
