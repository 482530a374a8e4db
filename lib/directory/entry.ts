// One registered client: the one type that is stored, sent and shown. The fields that few callers ask for are packed into one
// text, the stored form. They are unpacked at the first use: a lookup in shared memory makes a million entries a second.
import { isIP } from "node:net";
import type { ClientEndpoint, EndpointKind } from "../base/endpoint.ts";
import { endpointProblem, MAX_ENDPOINTS, MAX_PORT } from "../base/endpoint.ts";
import { TalkError } from "../base/errors.ts";
import { foldIfValid, foldRoomIfValid, MAX_NAME_BYTES, validateName } from "../base/names.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import { decodeBase64, KEY_BYTES } from "../crypto/signed-statements.ts";

/** Version of the protocol between clients (docs/PEER-PROTOCOL.md). Clients of different versions cannot talk. */
export const PEER_PROTOCOL = 2;

/** What vouches for `user` and `uid`: the server's kernel or a MUNGE credential; null: nothing does. */
export type Attestation = "kernel" | "munge" | null;
export type PresenceState = "here" | "idle" | "away";

export interface ClientStatus {
  readonly state: PresenceState;
  readonly text: string;
  /** Milliseconds since the epoch. A client that never changed its status has the time of its registration. */
  readonly since: number;
}

/** What a registration says of a client. */
export interface EntryFields {
  /** 1 to 32 bytes of UTF-8, see lib/base/names.ts. */
  readonly name: string;
  /** Ed25519 public key: canonical base64 of 32 bytes. */
  readonly key: string;
  /** 1 to 8, the preferred one first. */
  readonly endpoints: readonly ClientEndpoint[];
  /** The client's own word for its machine, at most 64 bytes; may be empty. */
  readonly host: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  /** Version of the peer protocol that the client speaks, 1 to 255. */
  readonly protocol: number;
  /** Name of the server that it is registered at; empty where there is only one. */
  readonly server: string;
  /** Login name (never empty) and uid on the server's host; null unless attested. */
  readonly user: string | null;
  readonly uid: number | null;
  readonly attested: Attestation;
  /** The name is a login name of the server's host, and nothing vouches for that user here. */
  readonly isUnattestedLogin: boolean;
  readonly status: ClientStatus;
  /** Names of rooms with their "#". */
  readonly rooms: readonly string[];
  /** Whether lists show it. A client that knows the name finds it all the same, and so does a room's member. */
  readonly listed: boolean;
}

/** The owner of a name, and what vouches for that user. */
export interface NameOwner extends Pick<EntryFields, "key" | "user" | "uid" | "attested" | "isUnattestedLogin"> {
  /** Further keys that may have the name, where that was asked and there are any. */
  readonly also?: readonly string[] | undefined;
  /** How the key follows those before it, where that was asked and it does, see crypto/rotation.ts. */
  readonly chain?: string | undefined;
}

/** What a registration gives. The fields that it may leave out have defaults, see {@link packEntry}. */
export type NewEntry = Pick<EntryFields, "name" | "key" | "endpoints" | "host" | "startedAt"> & Partial<EntryFields>;

/** The stored form of an entry, for a table, another process or another server. Plain data. */
export interface PackedEntry {
  readonly name: string;
  readonly key: string;
  readonly startedAt: number;
  /** All other fields, see {@link packEntry}. */
  readonly details: string;
}

/** An entry as JSON: times as ISO 8601 in UTC. */
export interface EntryJson {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly host: string;
  readonly key: string;
  readonly fingerprint: string;
  readonly startedAt: string;
  readonly lastLookupAt: string | null;
  readonly endpoints: readonly ClientEndpoint[];
  readonly protocol: number;
  readonly server: string;
  readonly user: string | null;
  readonly uid: number | null;
  readonly attested: Attestation;
  readonly status: { readonly state: PresenceState; readonly text: string; readonly since: string };
  readonly rooms: readonly string[];
  readonly stale: boolean;
}

type Details = Omit<EntryFields, "name" | "key" | "startedAt">;

/** An entry read back. Nothing in it changes later. */
export class DirectoryEntry implements EntryFields {
  readonly name: string;
  readonly key: string;
  readonly startedAt: number;
  /** Milliseconds since the epoch of the last lookup that this client made on the way to a message; null if it made none. */
  readonly lastLookupAt: number | null;
  /** The server answers from memory while the directory's engine is away. */
  readonly stale: boolean;
  readonly #packed: string;
  #details: Details | undefined;

  constructor({ name, key, startedAt, details }: PackedEntry, lastLookupAt: number | null = null, stale = false) {
    this.name = name;
    this.key = key;
    this.startedAt = startedAt;
    this.lastLookupAt = lastLookupAt;
    this.stale = stale;
    this.#packed = details;
  }

  /** The first endpoint's address. */
  get address(): string {
    return this.endpoints[0]?.address ?? "";
  }
  /** The first endpoint's UDP port. */
  get port(): number {
    return this.endpoints[0]?.port ?? 0;
  }
  get endpoints(): readonly ClientEndpoint[] {
    return this.#unpacked.endpoints;
  }
  get host(): string {
    return this.#unpacked.host;
  }
  get protocol(): number {
    return this.#unpacked.protocol;
  }
  get server(): string {
    return this.#unpacked.server;
  }
  get user(): string | null {
    return this.#unpacked.user;
  }
  get uid(): number | null {
    return this.#unpacked.uid;
  }
  get attested(): Attestation {
    return this.#unpacked.attested;
  }
  get isUnattestedLogin(): boolean {
    return this.#unpacked.isUnattestedLogin;
  }
  get status(): ClientStatus {
    return this.#unpacked.status;
  }
  get rooms(): readonly string[] {
    return this.#unpacked.rooms;
  }
  get listed(): boolean {
    return this.#unpacked.listed;
  }
  /** "SHA256:…", see crypto/fingerprint.ts. */
  get fingerprint(): string {
    return fingerprint(Buffer.from(this.key, "base64"));
  }

  /** The stored form, for another process. */
  get packed(): PackedEntry {
    return { name: this.name, key: this.key, startedAt: this.startedAt, details: this.#packed };
  }

  toJSON(): EntryJson {
    const { state, text, since } = this.status;
    return {
      name: this.name,
      address: this.address,
      port: this.port,
      host: this.host,
      key: this.key,
      fingerprint: this.fingerprint,
      startedAt: iso(this.startedAt),
      lastLookupAt: this.lastLookupAt === null ? null : iso(this.lastLookupAt),
      endpoints: this.endpoints,
      protocol: this.protocol,
      server: this.server,
      user: this.user,
      uid: this.uid,
      attested: this.attested,
      status: { state, text, since: iso(since) },
      rooms: this.rooms,
      stale: this.stale,
    };
  }

  get #unpacked(): Details {
    this.#details ??= unpack(this.#packed, this.startedAt);
    return this.#details;
  }
}

/** Largest time that an ECMAScript Date can hold, in ms since the epoch. An entry with a larger one is garbage. */
export const MAX_TIME = 8.64e15;
/** Characters of a key in base64. */
export const KEY_TEXT_BYTES = 44;
/** A version is one byte. */
const MAX_PROTOCOL = 255;
export const MAX_HOST_BYTES = 64;
export const MAX_SERVER_BYTES = 64;
/** `useradd` allows 32. The mapping to ptalk names cuts longer login names. */
export const MAX_USER_BYTES = 64;
export const MAX_STATUS_BYTES = 128;
export const MAX_ENTRY_ROOMS = 16;
/** "#" and a name. */
const MAX_ROOM_BYTES = 1 + MAX_NAME_BYTES;
/** (uid_t)-1 means "no uid". */
export const MAX_UID = 2 ** 32 - 2;
/**
 * Bytes of all details together. Eight IPv6 endpoints take 376 bytes at most. Eight endpoints, sixteen rooms and every text at
 * its longest do not fit together, and such an entry is refused: a table reserves this much for each of a million clients.
 */
export const MAX_DETAILS_BYTES = 768;

/** Stands between the fields of the stored form. No field holds a control character. */
const SEPARATOR = "\x1f";
const KINDS: Readonly<Record<EndpointKind, string>> = { host: "h", observed: "o", relay: "r" };
const KIND_OF = new Map<string, EndpointKind>(
  Object.entries(KINDS).map(([kind, letter]) => [letter, kind as EndpointKind]),
);
const STATES: readonly PresenceState[] = ["here", "idle", "away"];
/** In the place of an attestation. */
const UNATTESTED_LOGIN = "login";
const UNLISTED = "u";
const ATTESTATIONS: readonly NonNullable<Attestation>[] = ["kernel", "munge"];
// Others print these texts: such a character would change the state of their terminal, or break a format of lines.
const CONTROL = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;

/**
 * Checks every field and makes the stored form. `details` holds these fields, separated by {@link SEPARATOR}, without the empty
 * ones at the end: protocol, endpoints ("address port kind", commas between), host, server, user, uid, attested, status (state,
 * since, text), rooms (commas between), "u" for a client that lists do not show.
 * @throws TalkError `bad-data` naming the field; `bad-name`
 */
export function packEntry(entry: NewEntry): PackedEntry {
  const { name, key, startedAt, endpoints, host } = entry;
  const { protocol = PEER_PROTOCOL, server = "", user = null, uid = null, attested = null } = entry;
  const { status, rooms = [], listed = true, isUnattestedLogin = false } = entry;
  if (foldIfValid(name) === null) validateName(name); // throws, and says which rule is broken
  // The round trip refuses the second spelling that base64 allows for the same bytes: one key, one text.
  check(decodeBase64(key, KEY_BYTES) !== null, `key must be the base64 text of ${KEY_BYTES} bytes`);
  check(isWhole(startedAt, MAX_TIME), "startedAt must be milliseconds since the epoch");
  check(isWhole(protocol, MAX_PROTOCOL) && protocol > 0, `protocol must be a whole number from 1 to ${MAX_PROTOCOL}`);
  checkEndpoints(endpoints);
  checkText("host", host, MAX_HOST_BYTES);
  checkText("server", server, MAX_SERVER_BYTES);
  check(user !== "", "user must not be empty");
  if (user !== null) checkText("user", user, MAX_USER_BYTES);
  check(uid === null || isWhole(uid, MAX_UID), `uid must be a whole number up to ${MAX_UID}`);
  check(attested === null || ATTESTATIONS.includes(attested), "attested must be kernel, munge or null");
  check(Array.isArray(rooms) && rooms.length <= MAX_ENTRY_ROOMS, `rooms must be a list of at most ${MAX_ENTRY_ROOMS}`);
  for (const room of rooms) check(foldRoomIfValid(room) !== null, "rooms must be names with # before them");
  const fields = [
    String(protocol),
    endpoints.map(({ address, port, kind }) => `${address} ${port} ${KINDS[kind]}`).join(","),
    host,
    server,
    user ?? "",
    uid === null ? "" : String(uid),
    attested ?? (isUnattestedLogin ? UNATTESTED_LOGIN : ""),
    ...packStatus(status, startedAt),
    rooms.join(","),
    listed ? "" : UNLISTED,
  ];
  while (fields.at(-1) === "") fields.pop();
  const details = fields.join(SEPARATOR);
  check(
    Buffer.byteLength(details) <= MAX_DETAILS_BYTES,
    `endpoints, texts and rooms must fit into ${MAX_DETAILS_BYTES} bytes together`,
  );
  return { name, key, startedAt, details };
}

/** Whether others may be told of it: what packEntry() would have made, as far as a client that reads it depends on that. Never throws. */
export function isPackedEntry({ name, key, startedAt, details }: PackedEntry): boolean {
  if (foldIfValid(name) === null || decodeBase64(key, KEY_BYTES) === null || !isWhole(startedAt, MAX_TIME))
    return false;
  if (Buffer.byteLength(details) > MAX_DETAILS_BYTES) return false;
  const { protocol, endpoints } = unpack(details, startedAt);
  return protocol > 0 && endpoints.length > 0;
}

/** The status of a client that never changed it takes no room. */
function packStatus(status: ClientStatus | undefined, startedAt: number): [string, string, string] {
  if (status === undefined) return ["", "", ""];
  const { state, text, since } = status;
  check(STATES.includes(state), "status.state must be here, idle or away");
  check(isWhole(since, MAX_TIME), "status.since must be milliseconds since the epoch");
  checkText("status.text", text, MAX_STATUS_BYTES);
  return state === "here" && text === "" && since === startedAt ? ["", "", ""] : [state, String(since), text];
}

/**
 * Whatever bytes a hostile writer put there, the result has the right types and bounds. Never throws. Written for speed: most
 * programs that look a client up in shared memory want its address next.
 */
function unpack(packed: string, startedAt: number): Details {
  let at = 0;
  const next = (): string => {
    const end = packed.indexOf(SEPARATOR, at);
    const field = packed.slice(at, end === -1 ? packed.length : end);
    at = end === -1 ? packed.length : end + 1;
    return field;
  };
  // In the order of packEntry().
  return {
    protocol: wholeOr(next(), MAX_PROTOCOL, 0),
    endpoints: unpackEndpoints(next()),
    host: textOr(next(), MAX_HOST_BYTES, ""),
    server: textOr(next(), MAX_SERVER_BYTES, ""),
    user: textOr(next(), MAX_USER_BYTES, "") || null,
    uid: wholeOr(next(), MAX_UID, null),
    ...unpackAttested(next()),
    status: unpackStatus(next(), next(), next(), startedAt),
    rooms: unpackRooms(next()),
    listed: next() !== UNLISTED,
  };
}

function unpackEndpoints(text: string): ClientEndpoint[] {
  const endpoints: ClientEndpoint[] = [];
  for (let from = 0; from < text.length && endpoints.length < MAX_ENDPOINTS; ) {
    const comma = text.indexOf(",", from);
    const end = comma === -1 ? text.length : comma;
    const space = text.indexOf(" ", from);
    const address = text.slice(from, space);
    const port = Number(text.slice(space + 1, end - 2));
    const kind = text[end - 2] === " " ? KIND_OF.get(text[end - 1] as string) : undefined;
    // The other rules of endpointProblem() are for a client that registers.
    const isEndpoint = space < end && isWhole(port, MAX_PORT) && port > 0 && isIP(address) !== 0;
    if (isEndpoint && kind !== undefined && !address.includes("%")) endpoints.push({ address, port, kind });
    from = end + 1;
  }
  return endpoints;
}

function unpackAttested(word: string): Pick<Details, "attested" | "isUnattestedLogin"> {
  return { attested: oneOf(ATTESTATIONS, word, null), isUnattestedLogin: word === UNATTESTED_LOGIN };
}

function unpackStatus(state: string, since: string, text: string, startedAt: number): ClientStatus {
  return {
    state: oneOf(STATES, state, "here"),
    text: textOr(text, MAX_STATUS_BYTES, ""),
    since: wholeOr(since, MAX_TIME, startedAt),
  };
}

function unpackRooms(text: string): string[] {
  if (text === "") return [];
  return text
    .split(",", MAX_ENTRY_ROOMS)
    .filter((room) => room.length > 1 && textOr(room, MAX_ROOM_BYTES, "")[0] === "#");
}

function textOr(text: string, limit: number, otherwise: string): string {
  // No character takes more than three bytes for each of its code units.
  const fits = text.length * 3 <= limit || (text.length <= limit && Buffer.byteLength(text) <= limit);
  return fits ? text : otherwise;
}

function wholeOr<T>(digits: string, most: number, otherwise: T): number | T {
  if (digits === "") return otherwise;
  const value = Number(digits);
  return isWhole(value, most) ? value : otherwise;
}

function oneOf<T extends string, O>(words: readonly T[], text: string, otherwise: O): T | O {
  return text === "" ? otherwise : (words.find((word) => word === text) ?? otherwise);
}

function checkEndpoints(endpoints: readonly ClientEndpoint[]): void {
  check(
    Array.isArray(endpoints) && endpoints.length >= 1 && endpoints.length <= MAX_ENDPOINTS,
    `endpoints must be a list of 1 to ${MAX_ENDPOINTS}`,
  );
  for (const endpoint of endpoints) {
    const problem = endpointProblem(endpoint);
    check(problem === null, `endpoints: ${JSON.stringify(endpoint.address)} cannot be used: ${problem}`);
    check(Object.hasOwn(KINDS, endpoint.kind), "endpoints: a kind is host, observed or relay");
  }
}

function checkText(field: string, text: string, limit: number): void {
  check(typeof text === "string", `${field} must be a string`);
  check(text.length <= limit && Buffer.byteLength(text) <= limit, `${field} must have at most ${limit} bytes`);
  check(!CONTROL.test(text), `${field} must not contain control characters`);
}

function check(holds: boolean, otherwise: string): void {
  if (!holds) throw TalkError.badData(otherwise);
}

function isWhole(value: unknown, most: number): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= most;
}

/** Never throws: another process may have written something that is no time. */
function iso(at: number): string {
  return new Date(Math.abs(at) <= MAX_TIME ? at : 0).toISOString();
}
