// The commands of the lookup server: their names, arities and options, as data and as pure functions over arguments.
// What they do is in lib/server; the protocol as a whole is told in docs/PROTOCOL.md.

import { type ClientEndpoint, MAX_ENDPOINTS, MAX_PORT } from "../base/endpoint.ts";
import { MAX_ID_BYTES } from "./datagram-message.ts";

/** A request that cannot be carried out as written. `line` is the error reply: code word, space, sentence. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly line: string;

  constructor(line: string) {
    super(line);
    this.line = line;
  }

  static syntax(reason: string): CommandError {
    return new CommandError(`ERR syntax error: ${reason}`);
  }
}

export interface CommandSpec {
  /** Fewest and most arguments, the command's name included. */
  readonly min: number;
  readonly max: number;
  readonly summary: string;
}

const ANY = 64;

export const COMMANDS = {
  LOOKUP: { min: 2, max: 2, summary: "Where a client is, with its key; null if nobody of that name is on" },
  ALL: { min: 1, max: 5, summary: "Everyone who is on, or a page of them: [CURSOR c] [COUNT n]" },
  COUNT: { min: 1, max: 1, summary: "How many are on" },
  REGISTER: { min: 8, max: ANY, summary: "Puts this connection's client into the directory" },
  UNREGISTER: { min: 1, max: 1, summary: "Takes it out again" },
  CLAIM: { min: 6, max: 10, summary: "Binds a name to a key, or proves that it is bound, without going on" },
  FOLLOWS: { min: 3, max: 3, summary: "Proves that a key follows those before it: key chain" },
  KEY: { min: 2, max: 2, summary: "Which key a name belongs to, whether its owner is on or not; null if to none" },
  OWNER: {
    min: 2,
    max: 3,
    summary: "The same, with the user that the kernel vouches for: name [ADMIN]; null if to none",
  },
  CALL: { min: 2, max: 34, summary: "Tells a client that this one is about to talk to it: name [ENDPOINT k a p]…" },
  LEAVE: { min: 4, max: 5, summary: "Keeps a sealed message for somebody who is off: name id bytes [RECEIPT]" },
  TAKE: { min: 1, max: 3, summary: "Messages that were left for this connection's client, leased to it: [COUNT n]" },
  RELAY: { min: 3, max: 3, summary: "Passes a sealed datagram on to a client; null if it is not here: name bytes" },
  DONE: { min: 2, max: ANY, summary: "Forgets messages that this connection has taken: name… [LOST]" },
  TOUCH: { min: 1, max: 1, summary: "Sets lastLookupAt of this connection's client to now" },
  NAMES: { min: 2, max: 4, summary: "The first names that begin with a text: prefix [COUNT n]" },
  WATCH: { min: 1, max: 1025, summary: "Pushes what becomes of these names and #rooms, or of everybody (RESP3)" },
  UNWATCH: { min: 1, max: 1025, summary: "Ends WATCH, for these names and #rooms or for all" },
  JOIN: { min: 2, max: 2, summary: "Puts this connection's client into a room" },
  PART: { min: 2, max: 2, summary: "Takes it out again" },
  STATUS: { min: 2, max: 3, summary: "Says whether somebody looks at this connection's client: here|idle|away [text]" },
  MEMBERS: { min: 2, max: 2, summary: "Everyone who is in a room" },
  HELLO: { min: 1, max: ANY, summary: "Greets, and chooses the protocol: [2|3]" },
  PING: { min: 1, max: 2, summary: "Answers PONG, or the text given" },
  ECHO: { min: 2, max: 2, summary: "Answers the text given" },
  QUIT: { min: 1, max: 1, summary: "Closes the connection" },
  INFO: { min: 1, max: ANY, summary: "Facts and counters of the server" },
  SERVERS: { min: 1, max: 2, summary: "The other servers of the directory" },
  ADMIN: { min: 2, max: 4, summary: "For administrators: CHECK, CLIENTS, BANS, KICK, FREE, BAN, UNBAN, DRAIN" },
  COMMAND: { min: 1, max: ANY, summary: "These commands, for client libraries" },
  // What client libraries and redis-benchmark send unasked.
  CLIENT: { min: 2, max: ANY, summary: "SETNAME, SETINFO, GETNAME, ID: for client libraries" },
  CONFIG: { min: 2, max: ANY, summary: "GET: for redis-benchmark" },
  SELECT: { min: 2, max: 2, summary: "There is one database, 0" },
} as const satisfies Record<string, CommandSpec>;

export type CommandName = keyof typeof COMMANDS;

/** Names of one answer to NAMES: when COUNT is not given, and at most. What a person looks through. */
export const MAX_NAMES = 100;

/** Entries of one page of ALL: when COUNT is not given, and at most. */
export const DEFAULT_PAGE = 100;
export const MAX_PAGE = 1000;

export interface RegisterArguments {
  readonly name: string;
  /** base64 */
  readonly key: string;
  /** UDP port of the chat socket, 1 to 65535. */
  readonly port: number;
  /** In the order of the request; empty: where the server sees the client. */
  readonly endpoints: readonly ClientEndpoint[];
  readonly host: string;
  /** Version of the peer protocol that the client speaks. */
  readonly protocol: number;
  readonly signature: string;
  /** Claim id of the registration that this one continues. */
  readonly takeover: string | null;
  /** Replace any other registration of the same key. */
  readonly replace: boolean;
  /** The client answers `probe` pushes. */
  readonly probe: boolean;
  /** Lists do not show the client. */
  readonly unlisted: boolean;
  /** MUNGE credential for this request; null: none. */
  readonly munge: string | null;
  /** The options that are signed, as words with their values, sorted. */
  readonly options: readonly string[];
}

/** Options with one value each. */
const VALUES = ["KEY", "PORT", "HOST", "SIG", "PROTOCOL", "TAKEOVER", "MUNGE"];
/** In the order in which they are signed. */
const FLAGS = ["PROBE", "REPLACE", "UNLISTED"];
const CLAIM_ID = /^[A-Za-z0-9+/]{16}$/;
const REGISTER_FORM =
  "REGISTER name KEY base64 PROTOCOL n PORT port [ENDPOINT kind address port]... [HOST host] SIG base64 [PROBE] " +
  "[TAKEOVER claim-id] [REPLACE] [UNLISTED] [MUNGE credential]";

/** @param args behind the command's name */
export function parseRegister(args: readonly string[]): RegisterArguments {
  const [name, ...words] = args;
  // Version 1 had other options: its sender is to hear about the version, not about those.
  if (!words.some((word) => word.toUpperCase() === "PROTOCOL")) {
    throw new CommandError("ERR a REGISTER without PROTOCOL is one of version 1: upgrade this client");
  }
  const found = new Map<string, string>();
  const endpoints: ClientEndpoint[] = [];
  for (let i = 0; i < words.length; ) {
    const option = (words[i] as string).toUpperCase();
    if (option === "ENDPOINT") {
      endpoints.push(readEndpoint(words.slice(i + 1, i + 4)));
      i += 4;
      continue;
    }
    const takesValue = VALUES.includes(option);
    if (!takesValue && !FLAGS.includes(option)) {
      throw CommandError.syntax(`REGISTER has no option ${printable(option)}`);
    }
    if (found.has(option)) throw CommandError.syntax(`REGISTER takes ${option} once`);
    const value = takesValue ? words[i + 1] : "";
    if (value === undefined) throw CommandError.syntax(`${option} needs a value`);
    found.set(option, value);
    i += takesValue ? 2 : 1;
  }
  const [key, signature, takeover = null] = [found.get("KEY"), found.get("SIG"), found.get("TAKEOVER")];
  const [port, protocol] = [number(found.get("PORT"), MAX_PORT), number(found.get("PROTOCOL"), MAX_PROTOCOL)];
  if (name === undefined || key === undefined || signature === undefined) throw CommandError.syntax(REGISTER_FORM);
  if (port === null) throw CommandError.syntax(`PORT is a number from 1 to ${MAX_PORT}`);
  if (protocol === null) throw CommandError.syntax(`PROTOCOL is a number from 1 to ${MAX_PROTOCOL}`);
  if (endpoints.length > MAX_ENDPOINTS) throw CommandError.syntax(`at most ${MAX_ENDPOINTS} ENDPOINT`);
  if (takeover !== null && !CLAIM_ID.test(takeover)) throw CommandError.syntax("TAKEOVER takes a claim id");
  const options = FLAGS.filter((flag) => found.has(flag));
  if (takeover !== null) options.push(`TAKEOVER ${takeover}`);
  options.sort();
  return {
    name,
    key,
    port,
    endpoints,
    host: found.get("HOST") ?? "",
    protocol,
    signature,
    takeover,
    replace: found.has("REPLACE"),
    probe: found.has("PROBE"),
    unlisted: found.has("UNLISTED"),
    munge: found.get("MUNGE") ?? null,
    options,
  };
}

const MAX_PROTOCOL = 255;

function readEndpoint([kind, address, digits]: readonly string[]): ClientEndpoint {
  const port = number(digits, MAX_PORT);
  if (address === undefined || port === null || !(kind === "host" || kind === "observed" || kind === "relay")) {
    throw CommandError.syntax("ENDPOINT host|observed|relay address port");
  }
  return { address, port, kind };
}

function number(digits: string | undefined, most: number): number | null {
  const value = digits !== undefined && /^[1-9]\d{0,4}$/.test(digits) ? Number(digits) : Number.NaN;
  return value <= most ? value : null;
}

export interface CallArguments {
  readonly name: string;
  readonly endpoints: readonly ClientEndpoint[];
}

/** @param args behind the command's name: `name [ENDPOINT kind address port]...` */
export function parseCall([name = "", ...words]: readonly string[]): CallArguments {
  const endpoints: ClientEndpoint[] = [];
  for (let i = 0; i < words.length; i += 4) {
    if ((words[i] as string).toUpperCase() !== "ENDPOINT") {
      throw CommandError.syntax("CALL name [ENDPOINT kind address port]...");
    }
    endpoints.push(readEndpoint(words.slice(i + 1, i + 4)));
  }
  return { name, endpoints };
}

export interface StatusArguments {
  readonly state: "here" | "idle" | "away";
  readonly text: string;
}

/** @param args behind the command's name: `state [text]` */
export function parseStatus([word = "", text = ""]: readonly string[]): StatusArguments {
  const state = word.toLowerCase();
  if (state !== "here" && state !== "idle" && state !== "away") {
    throw CommandError.syntax("STATUS here|idle|away [text]");
  }
  return { state, text };
}

export interface ClaimArguments {
  readonly name: string;
  readonly key: string;
  readonly signature: string;
  /** A further key that is to have the name. */
  readonly also: string | null;
  /** MUNGE credential for this request. */
  readonly munge: string | null;
}

/** @param args behind the command's name: `name KEY k SIG s [ALSO k] [MUNGE c]` */
export function parseClaim(args: readonly string[]): ClaimArguments {
  const [name, ...options] = args;
  const found = new Map<string, string>();
  for (let i = 0; i < options.length; i += 2) found.set((options[i] as string).toUpperCase(), options[i + 1] as string);
  const [key, signature] = [found.get("KEY"), found.get("SIG")];
  const [also, munge] = [found.get("ALSO") ?? null, found.get("MUNGE") ?? null];
  const count = [key, signature, also, munge].filter((value) => value !== null).length;
  if (name === undefined || key === undefined || signature === undefined || found.size !== count) {
    throw CommandError.syntax("CLAIM name KEY base64 SIG base64 [ALSO base64] [MUNGE credential]");
  }
  return { name, key, signature, also, munge };
}

export interface AllArguments {
  /** null: everyone at once. */
  cursor: number | null;
  count: number;
}

/** @param args behind the command's name: `[CURSOR c] [COUNT n]` */
export function parseAll(args: readonly string[]): AllArguments {
  let cursor: number | null = null;
  let count = DEFAULT_PAGE;
  for (let i = 0; i < args.length; i += 2) {
    const option = (args[i] as string).toUpperCase();
    const value = args[i + 1];
    const number = value !== undefined && /^\d{1,10}$/.test(value) ? Number(value) : Number.NaN;
    if (option === "CURSOR" && !Number.isNaN(number)) cursor = number;
    else if (option === "COUNT" && number >= 1) count = Math.min(number, MAX_PAGE);
    else throw CommandError.syntax("ALL [CURSOR c] [COUNT n], both decimal numbers");
  }
  return { cursor, count };
}

export interface NamesArguments {
  readonly prefix: string;
  readonly count: number;
}

/** @param args behind the command's name: `prefix [COUNT n]` */
export function parseNames(args: readonly string[]): NamesArguments {
  const [prefix = "", option, digits] = args;
  if (option === undefined) return { prefix, count: MAX_NAMES };
  const number = digits !== undefined && /^[1-9]\d{0,9}$/.test(digits) ? Number(digits) : null;
  if (option.toUpperCase() !== "COUNT" || number === null) throw CommandError.syntax("NAMES prefix [COUNT n]");
  return { prefix, count: Math.min(number, MAX_NAMES) };
}

export interface LeaveArguments {
  readonly name: string;
  readonly id: string;
  /** base64 */
  readonly bytes: string;
  readonly receipt: boolean;
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** @param args behind the command's name: `name id bytes [RECEIPT]` */
export function parseLeave([name = "", id = "", bytes = "", kind]: readonly string[]): LeaveArguments {
  if (kind !== undefined && kind.toUpperCase() !== "RECEIPT")
    throw CommandError.syntax("LEAVE name id base64 [RECEIPT]");
  const idBytes = Buffer.byteLength(id);
  if (idBytes < 1 || idBytes > MAX_ID_BYTES) throw CommandError.syntax(`an id has 1 to ${MAX_ID_BYTES} bytes`);
  if (bytes === "" || !BASE64.test(bytes)) throw CommandError.syntax("the sealed message is base64");
  return { name, id, bytes, receipt: kind !== undefined };
}

/** Messages that one TAKE gives at most. */
const MAX_TAKE = 64;

/** @param args behind the command's name: `[COUNT n]` */
export function parseTake([option, digits]: readonly string[]): number {
  if (option === undefined) return 1;
  const count = digits !== undefined && /^\d{1,6}$/.test(digits) ? Number(digits) : 0;
  if (option.toUpperCase() === "COUNT" && count >= 1) return Math.min(count, MAX_TAKE);
  throw CommandError.syntax("TAKE [COUNT n]");
}

/** @param args behind the command's name: `name… [LOST]` */
export function parseDone(args: readonly string[]): { readonly names: readonly string[]; readonly lost: boolean } {
  // No name is spelled like that: they begin with a digit.
  const lost = args.at(-1)?.toUpperCase() === "LOST";
  return { names: lost ? args.slice(0, -1) : args, lost };
}

/** Foreign text inside an error: what it is made of is shown, and no more than is needed to recognise it. */
export function printable(text: string): string {
  return JSON.stringify(text.slice(0, 32)).replace(/[^ -~]/g, "?");
}
