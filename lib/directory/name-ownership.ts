// Which key a name belongs to, in memory: the sum of the lines of the log (shm/name-log.ts), in their order. The lines alone
// decide which name gives way to another, so all who read the same log know the same.
import { DirectoryError } from "./directory-error.ts";

/**
 * Names that belong to one key, so that no key can take them all. For a further one the key gives up the one that it has not
 * used for longest, but none of this day's, or the log would grow with every visit. Beyond that a name is the key's own only
 * while it is registered.
 */
export const NAMES_PER_KEY = 64;

/**
 * Names that belong to keys of one user of the host, so that no user takes them all with many keys; the login name and its numbers aside. Then
 * as with a key.
 */
export const NAMES_PER_UID = 512;

/** In the place of the key, in the line that ends a binding. */
export const NO_KEY = "-";

/** Days without a registration after which a name gives way to a new one, if there is no room otherwise. */
export const UNUSED_DAYS = 90;

/** Days after which a registration is written down again: often enough for UNUSED_DAYS, seldom enough for what keeps it. */
const FRESH_DAYS = 7;

const DAY_MS = 86_400_000;

export interface NameLine {
  readonly folded: string;
  /** base64; {@link NO_KEY}: the name is nobody's from here on. */
  readonly key: string;
  /** Of the registration, in days since the epoch. */
  readonly day: number;
  /** Of the key's holder, as the kernel said at the last registration on this host; left out if it did not. */
  readonly uid?: number;
  /** A MUNGE credential said so, not the kernel. */
  readonly isMunge?: true;
  /** The login whose name it is; left out of other names. */
  readonly login?: string;
  /** Further keys (base64, commas between) that the owner of a login name has allowed it from elsewhere; left out when there are none. */
  readonly also?: string;
  /** How the key follows those before it, see crypto/rotation.ts; left out when it follows none. */
  readonly chain?: string;
}

/** What a line says of the key's holder. */
export type NameHolderIds = Omit<NameLine, "folded" | "key" | "day">;

/** In days since the epoch. */
export function today(): number {
  return Math.floor(Date.now() / DAY_MS);
}

export class NameOwnership {
  readonly #limit: number;
  /** In the order of their last registrations, the oldest first. */
  readonly #lines = new Map<string, NameLine>();
  /** Folded names by key, in the same order. */
  readonly #namesOf = new NamesBy<string>();
  /** The same by uid, without those that are logins. */
  readonly #namesOfUid = new NamesBy<number>();

  /** @param limit names that there is room for */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#lines.size;
  }

  get(folded: string): NameLine | undefined {
    return this.#lines.get(folded);
  }

  /** All lines, in an order that gives the same when it is read again. */
  lines(): Iterable<NameLine> {
    return this.#lines.values();
  }

  /** @throws DirectoryError `full` if the name is not bound, and there is no room for one more of this key */
  checkRoom(folded: string, key: string, holder: NameHolderIds = {}): void {
    if (this.#lines.has(folded) || this.#lines.size < this.#limit) return;
    if (this.#givenUp({ key, ...holder }) !== null || this.#unused(today()) !== null) return;
    throw DirectoryError.noMoreNames(this.#limit);
  }

  /** Whether that line says the same, but for its day. */
  says({ folded, key, uid, isMunge, login, also, chain }: Omit<NameLine, "day">): boolean {
    const known = this.#lines.get(folded);
    if (known?.key !== key || known.uid !== uid || known.login !== login) return false;
    return known.isMunge === isMunge && known.also === also && known.chain === chain;
  }

  /** Whether the name is that key's, and was so in the last days: then there is nothing to write down. */
  isFresh(folded: string, key: string, holder: NameHolderIds = {}): boolean {
    const known = this.#lines.get(folded);
    return known !== undefined && this.says({ folded, key, ...holder }) && today() - known.day < FRESH_DAYS;
  }

  /** The name that gives way when this line is applied; null if none does. */
  givesWayTo(line: NameLine): string | null {
    if (this.#lines.has(line.folded)) return null;
    return this.#givenUp(line)?.folded ?? (this.#lines.size < this.#limit ? null : this.#unused(line.day));
  }

  /** Whether the name can be bound to the key today: neither the key nor its user has all names that it may have. */
  canBind(folded: string, key: string, holder: NameHolderIds = {}): boolean {
    const given = this.#givenUp({ key, ...holder });
    return this.#lines.has(folded) || given === null || given.day < today();
  }

  /**
   * Binds the name, which is the key's own or free. A key that has all names that it may have gets no further one.
   * @throws DirectoryError `full`
   */
  bind(folded: string, key: string, holder: NameHolderIds = {}): void {
    this.checkRoom(folded, key, holder);
    if (this.canBind(folded, key, holder)) this.apply({ folded, key, day: today(), ...holder });
  }

  /** Forgets whose the name is. @returns whether it was bound */
  release(folded: string): boolean {
    return this.#forget(folded);
  }

  /** Takes the next line of a log. */
  apply(line: NameLine): void {
    this.#forget(line.folded);
    if (line.key === NO_KEY) return;
    const givesWay = this.#givenUp(line)?.folded ?? (this.#lines.size < this.#limit ? null : this.#unused(line.day));
    if (givesWay !== null) this.#forget(givesWay);
    this.#lines.set(line.folded, line);
    this.#namesOf.add(line.key, line.folded);
    if (countsForUid(line)) this.#namesOfUid.add(line.uid, line.folded);
  }

  /** The name that the key, or its user, would give up for one more; null while both may have more. */
  #givenUp(line: Pick<NameLine, "key" | "uid" | "login">): NameLine | null {
    if (this.#namesOf.count(line.key) >= NAMES_PER_KEY) return this.#oldestOf(this.#namesOf.of(line.key));
    if (!countsForUid(line) || this.#namesOfUid.count(line.uid) < NAMES_PER_UID) return null;
    return this.#oldestOf(this.#namesOfUid.of(line.uid));
  }

  #oldestOf([oldest]: Iterable<string>): NameLine | null {
    return this.#lines.get(oldest as string) ?? null;
  }

  #unused(day: number): string | null {
    const [oldest] = this.#lines.values();
    return oldest !== undefined && day - oldest.day >= UNUSED_DAYS ? oldest.folded : null;
  }

  #forget(folded: string): boolean {
    const line = this.#lines.get(folded);
    if (line === undefined) return false;
    this.#lines.delete(folded);
    this.#namesOf.remove(line.key, folded);
    if (countsForUid(line)) this.#namesOfUid.remove(line.uid, folded);
    return true;
  }
}

/** Root has no such bound. */
function countsForUid<L extends Pick<NameLine, "uid" | "login">>(line: L): line is L & { readonly uid: number } {
  return line.uid !== undefined && line.uid !== 0 && line.login === undefined;
}

/** Names by what they belong to, in the order in which they came. Most keys have one: a set for each would be a third of all that is remembered. */
class NamesBy<K> {
  readonly #names = new Map<K, string | Set<string>>();

  count(owner: K): number {
    const names = this.#names.get(owner);
    return names === undefined ? 0 : typeof names === "string" ? 1 : names.size;
  }

  of(owner: K): Iterable<string> {
    const names = this.#names.get(owner) ?? [];
    return typeof names === "string" ? [names] : names;
  }

  add(owner: K, name: string): void {
    const names = this.#names.get(owner);
    if (names === undefined || names === name) this.#names.set(owner, name);
    else if (typeof names === "string") this.#names.set(owner, new Set([names, name]));
    else names.add(name);
  }

  remove(owner: K, name: string): void {
    const names = this.#names.get(owner);
    if (names === name) this.#names.delete(owner);
    else if (typeof names === "object" && names.delete(name) && names.size === 0) this.#names.delete(owner);
  }
}
