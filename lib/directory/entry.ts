// One registered client: the one type that is stored, sent and shown. Its rarely asked fields are packed into one text, the
// stored form, and unpacked when somebody asks: a lookup in shared memory makes a million of these a second.
import type { ClientEndpoint, EndpointKind } from "../base/endpoint.ts";
import { endpointProblem, MAX_ENDPOINTS } from "../base/endpoint.ts";
import { TalkError } from "../base/errors.ts";
import { foldIfValid } from "../base/names.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import { decodeBase64, KEY_BYTES } from "../crypto/signed-statements.ts";

/** Version of the protocol between clients (docs/PEER-PROTOCOL.md). Clients of different versions cannot talk. */
export const PEER_PROTOCOL = 2;

/** Who vouches for `user` and `uid`: the server's kernel, a MUNGE credential, or nobody. */
export type Attestation = "kernel" | "munge" | null;
export type PresenceState = "here" | "idle" | "away";

export interface ClientStatus {
  readonly state: PresenceState;
  readonly text: string;
  /** Milliseconds since the epoch; of a client that never changed it, when it registered. */
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
  /** Login name and uid on the server's host; null unless attested. */
  readonly user: string | null;
  readonly uid: number | null;
  readonly attested: Attestation;
  readonly status: ClientStatus;
  /** Names of rooms with their "#". */
  readonly rooms: readonly string[];
}

/** The fields that a registration has to give. */
export type NewEntry = Pick<EntryFields, "name" | "key" | "endpoints" | "host" | "startedAt"> & Partial<EntryFields>;

/** The stored form: what a table, another process or another server keeps of an entry. Plain data. */
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
  get status(): ClientStatus {
    return this.#unpacked.status;
  }
  get rooms(): readonly string[] {
    return this.#unpacked.rooms;
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

/** Largest time that an ECMAScript Date can hold, in ms since the epoch. An entry that claims more is garbage. */
export const MAX_TIME = 8.64e15;
/** Base64 of a key. */
export const KEY_TEXT_BYTES = 44;
export const MAX_HOST_BYTES = 64;
export const MAX_SERVER_BYTES = 64;
/** Longer login names exist, and are cut by the mapping to ptalk names; `useradd` allows 32. */
export const MAX_USER_BYTES = 64;
export const MAX_STATUS_BYTES = 128;
export const MAX_ENTRY_ROOMS = 16;
/** (uid_t)-1 means "no uid". */
export const MAX_UID = 2 ** 32 - 2;
/**
 * All details together. Eight IPv6 endpoints take 376 bytes at most; together with everything else at its longest they do not
 * fit, and such a client is refused: a table of a million has room for this much of each.
 */
export const MAX_DETAILS_BYTES = 768;

/** Between the fields of the stored form: no field may hold a control character. */
const SEPARATOR = "\x1f";
const KINDS: Readonly<Record<EndpointKind, string>> = { host: "h", observed: "o", relay: "r" };
const KIND_OF = new Map<string, EndpointKind>(
  Object.entries(KINDS).map(([kind, letter]) => [letter, kind as EndpointKind]),
);
const STATES: readonly PresenceState[] = ["here", "idle", "away"];
// What would leave the terminal or the line-based formats in another state, in a text that others will print.
const CONTROL = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;

/**
 * Checks every field and makes the stored form. `details` holds, with a unit separator between them and empty ones left out at
 * the end: protocol, endpoints ("address port kind", commas between), host, server, user, uid, attested, status (state, since,
 * text), rooms (commas between).
 * @throws TalkError `bad-data` naming the field; `bad-name`
 */
export function packEntry(entry: NewEntry): PackedEntry {
  const { name, key, startedAt, endpoints, host } = entry;
  const { protocol = PEER_PROTOCOL, server = "", user = null, uid = null, attested = null, status, rooms = [] } = entry;
  if (foldIfValid(name) === null) throw TalkError.badName(name, "nobody can be called so");
  // The round trip refuses the second spelling that base64 allows for the same bytes: one key, one text.
  check(decodeBase64(key, KEY_BYTES) !== null, `key must be the base64 text of ${KEY_BYTES} bytes`);
  check(isWhole(startedAt, MAX_TIME), "startedAt must be milliseconds since the epoch");
  check(isWhole(protocol, 255) && protocol > 0, "protocol must be a whole number from 1 to 255");
  checkEndpoints(endpoints);
  checkText("host", host, MAX_HOST_BYTES);
  checkText("server", server, MAX_SERVER_BYTES);
  if (user !== null) checkText("user", user, MAX_USER_BYTES);
  check(uid === null || isWhole(uid, MAX_UID), `uid must be a whole number up to ${MAX_UID}`);
  check(Array.isArray(rooms) && rooms.length <= MAX_ENTRY_ROOMS, `at most ${MAX_ENTRY_ROOMS} rooms`);
  for (const room of rooms) check(isRoom(room), "a room is # and a name");
  const fields = [
    String(protocol),
    endpoints.map(({ address, port, kind }) => `${address} ${port} ${KINDS[kind]}`).join(","),
    host,
    server,
    user ?? "",
    uid === null ? "" : String(uid),
    attested ?? "",
  ];
  if (status !== undefined) {
    check(STATES.includes(status.state), "status must be here, idle or away");
    check(isWhole(status.since, MAX_TIME), "status.since must be milliseconds since the epoch");
    checkText("status.text", status.text, MAX_STATUS_BYTES);
  }
  const isPlain = status === undefined || (status.state === "here" && status.text === "" && status.since === startedAt);
  fields.push(...(isPlain ? ["", "", ""] : [status.state, String(status.since), status.text]));
  fields.push(rooms.join(","));
  while (fields.at(-1) === "") fields.pop();
  const details = fields.join(SEPARATOR);
  check(
    Buffer.byteLength(details) <= MAX_DETAILS_BYTES,
    `endpoints, host and the rest must fit ${MAX_DETAILS_BYTES} bytes`,
  );
  return { name, key, startedAt, details };
}

/** Whatever a hostile writer put there becomes an entry of the right shape, never an exception. */
function unpack(packed: string, startedAt: number): Details {
  const [
    protocol,
    endpoints = "",
    host = "",
    server = "",
    user = "",
    uid = "",
    attested,
    state,
    since,
    text = "",
    rooms,
  ] = packed.split(SEPARATOR);
  return {
    protocol: Number(protocol) || 0,
    endpoints: endpoints.split(",").flatMap(readEndpoint),
    host,
    server,
    user: user === "" ? null : user,
    uid: uid === "" || !isWhole(Number(uid), MAX_UID) ? null : Number(uid),
    attested: attested === "kernel" || attested === "munge" ? attested : null,
    status: {
      state: STATES.find((known) => known === state) ?? "here",
      text,
      since:
        since !== undefined && isWhole(Number(since || startedAt), MAX_TIME) ? Number(since || startedAt) : startedAt,
    },
    rooms: rooms ? rooms.split(",") : [],
  };
}

function readEndpoint(text: string): ClientEndpoint[] {
  const [address, digits, letter = ""] = text.split(" ");
  const kind = KIND_OF.get(letter);
  const port = Number(digits);
  if (address === undefined || kind === undefined || endpointProblem({ address, port }) !== null) return [];
  return [{ address, port, kind }];
}

/** Whether the details are a writer's work as far as can be told: they have an endpoint. */
export function areWholeDetails(details: string): boolean {
  return unpack(details, 0).endpoints.length > 0;
}

function checkEndpoints(endpoints: readonly ClientEndpoint[]): void {
  check(
    Array.isArray(endpoints) && endpoints.length >= 1 && endpoints.length <= MAX_ENDPOINTS,
    `endpoints must be a list of 1 to ${MAX_ENDPOINTS}`,
  );
  for (const endpoint of endpoints) {
    const problem = endpointProblem(endpoint);
    check(problem === null, `the endpoint ${JSON.stringify(endpoint.address)} cannot be used: ${problem}`);
    check(Object.hasOwn(KINDS, endpoint.kind), "an endpoint's kind is host, observed or relay");
  }
}

function isRoom(room: unknown): boolean {
  return typeof room === "string" && room.startsWith("#") && foldIfValid(room.slice(1)) !== null;
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

/** Never throws: what another process wrote may be no time at all. */
function iso(at: number): string {
  return new Date(Math.abs(at) <= MAX_TIME ? at : 0).toISOString();
}
