// Files that others offer to this user in a conversation: which of them wait for an answer, by short numbers that a person can type.
import { TalkError } from "../../base/errors.ts";
import type { FileOffer } from "../../client/types.ts";
import { byteCount, type FileNews, offerNews, takeFile } from "../files.ts";
import { describeError } from "../output.ts";

/** The largest file that a person is asked about. */
const MAX_BYTES = 1024 ** 3;
/** Offers that wait for an answer: more than a person reads. */
const MAX_WAITING = 16;

export interface OffersOptions {
  /** Where accepted files go. */
  readonly directory: string;
  /** Gives up the transfers that are under way. */
  readonly signal: AbortSignal;
  readonly show: (news: FileNews, command?: string) => void;
}

export class Offers {
  readonly #options: OffersOptions;
  /** By number; the oldest first. */
  readonly #waiting = new Map<string, FileOffer>();
  readonly #underWay = new Set<Promise<void>>();
  #last = 0;

  constructor(options: OffersOptions) {
    this.#options = options;
  }

  get underWay(): Iterable<Promise<void>> {
    return this.#underWay;
  }

  onOffer(offer: FileOffer): void {
    if (offer.size > MAX_BYTES) offer.decline(`it takes files of at most ${byteCount(MAX_BYTES)}`);
    else if (this.#waiting.size >= MAX_WAITING) offer.decline("too many files wait for an answer");
    else {
      const number = String(++this.#last);
      this.#waiting.set(number, offer);
      offer.withdrawn.addEventListener("abort", () => this.#onWithdrawn(number, offer), { once: true });
      this.#options.show(offerNews(offer, "offered"), `/accept ${number} takes it, /decline ${number} refuses it`);
    }
  }

  #onWithdrawn(number: string, offer: FileOffer): void {
    if (!this.#waiting.delete(number)) return;
    const { code, message } = describeError(offer.withdrawn.reason);
    this.#options.show({ ...offerNews(offer, "failed"), code, message });
  }

  /** @param id its number, or the beginning of the id; null: the only one. @throws TalkError usage */
  accept(id: string | null): void {
    const offer = this.#take(id);
    const { directory, signal, show } = this.#options;
    const settled: Promise<void> = takeFile(offer, directory, { signal, show: (news) => show(news) }).then(
      () => {},
      () => {}, // it has been shown
    );
    this.#underWay.add(settled);
    void settled.then(() => this.#underWay.delete(settled));
  }

  /** @throws as accept() */
  decline(id: string | null): void {
    const offer = this.#take(id);
    offer.decline();
    this.#options.show(offerNews(offer, "declined"));
  }

  #take(id: string | null): FileOffer {
    const fits = [...this.#waiting].filter(
      ([number, offer]) => id === null || number === id || (id.length >= MIN_ID && offer.id.startsWith(id)),
    );
    const [found, ...more] = fits;
    if (found === undefined) {
      throw TalkError.usage(id === null ? "no file is offered" : `no file is offered under ${JSON.stringify(id)}`);
    }
    if (more.length > 0) {
      const list = fits.map(([number, { from, name }]) => `${number} (${name} of ${from})`).join(", ");
      throw TalkError.usage(`which file? There are ${list}`);
    }
    const [number, offer] = found;
    this.#waiting.delete(number);
    return offer;
  }
}

/** Characters of an id that name an offer: fewer are a number. */
const MIN_ID = 6;
