// The commands of the lookup server: their names, arities and options, as data and as pure functions over arguments.
// What they do is in lib/server; the protocol as a whole is told in docs/PROTOCOL.md.

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
  REGISTER: { min: 8, max: 19, summary: "Puts this connection's client into the directory" },
  UNREGISTER: { min: 1, max: 1, summary: "Takes it out again" },
  CLAIM: { min: 6, max: 6, summary: "Binds a name to a key, or proves that it is bound, without going on" },
  KEY: { min: 2, max: 2, summary: "Which key a name belongs to, whether its owner is on or not; null if to none" },
  CALL: { min: 2, max: 2, summary: "Tells a client that this one is about to talk to it" },
  WATCH: { min: 1, max: 1, summary: "Pushes joined, left and closing from now on (RESP3)" },
  UNWATCH: { min: 1, max: 1, summary: "Ends WATCH" },
  HELLO: { min: 1, max: ANY, summary: "Greets, and chooses the protocol: [2|3]" },
  PING: { min: 1, max: 2, summary: "LookupReplyCache PONG, or the text given" },
  ECHO: { min: 2, max: 2, summary: "LookupReplyCache the text given" },
  QUIT: { min: 1, max: 1, summary: "Closes the connection" },
  INFO: { min: 1, max: ANY, summary: "Facts and counters of the server" },
  COMMAND: { min: 1, max: ANY, summary: "These commands, for client libraries" },
  // What client libraries and redis-benchmark send unasked.
  CLIENT: { min: 2, max: ANY, summary: "SETNAME, SETINFO, GETNAME, ID: for client libraries" },
  CONFIG: { min: 2, max: ANY, summary: "GET: for redis-benchmark" },
  SELECT: { min: 2, max: 2, summary: "There is one database, 0" },
} as const satisfies Record<string, CommandSpec>;

export type CommandName = keyof typeof COMMANDS;

/** Entries of one page of ALL: when COUNT is not given, and at most. */
export const DEFAULT_PAGE = 100;
export const MAX_PAGE = 1000;

export interface RegisterArguments {
  name: string;
  key: string;
  port: number;
  addresses: string[];
  host: string;
  signature: string;
  /** Take the name over from an older connection of the same key. */
  takeover: boolean;
  /** The client answers `probe` pushes. */
  probe: boolean;
}

const MAX_ADDRESSES = 4;

/** @param args behind the command's name: `name KEY k PORT p [ADDR a]… [HOST h] SIG s [TAKEOVER] [PROBE]` */
export function parseRegister(args: readonly string[]): RegisterArguments {
  const [name, ...options] = args;
  const found = new Map<string, string>();
  const addresses: string[] = [];
  for (let i = 0; i < options.length; i++) {
    const option = (options[i] as string).toUpperCase();
    if (option === "TAKEOVER" || option === "PROBE") {
      found.set(option, "");
      continue;
    }
    const value = options[++i];
    if (value === undefined) throw CommandError.syntax(`${printable(option)} needs a value`);
    if (option === "ADDR") addresses.push(value);
    else if (["KEY", "PORT", "HOST", "SIG"].includes(option) && !found.has(option)) found.set(option, value);
    else throw CommandError.syntax(`REGISTER has no option ${printable(option)}, or not twice`);
  }
  const key = found.get("KEY");
  const signature = found.get("SIG");
  const port = Number(/^\d{1,5}$/.test(found.get("PORT") ?? "") ? found.get("PORT") : Number.NaN);
  if (name === undefined || key === undefined || signature === undefined) {
    throw CommandError.syntax("REGISTER name KEY base64 PORT port [ADDR address]… [HOST host] SIG base64");
  }
  if (!(port >= 1 && port <= 65535)) throw CommandError.syntax("PORT is a number from 1 to 65535");
  if (addresses.length > MAX_ADDRESSES) throw CommandError.syntax(`at most ${MAX_ADDRESSES} ADDR`);
  const host = found.get("HOST") ?? "";
  return { name, key, port, addresses, host, signature, takeover: found.has("TAKEOVER"), probe: found.has("PROBE") };
}

export interface ClaimArguments {
  name: string;
  key: string;
  signature: string;
}

/** @param args behind the command's name: `name KEY k SIG s` */
export function parseClaim(args: readonly string[]): ClaimArguments {
  const [name, ...options] = args;
  const found = new Map<string, string>();
  for (let i = 0; i < options.length; i += 2) found.set((options[i] as string).toUpperCase(), options[i + 1] as string);
  const [key, signature] = [found.get("KEY"), found.get("SIG")];
  if (name === undefined || key === undefined || signature === undefined) {
    throw CommandError.syntax("CLAIM name KEY base64 SIG base64");
  }
  return { name, key, signature };
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

/** Foreign text inside an error: what it is made of is shown, and no more than is needed to recognise it. */
export function printable(text: string): string {
  return JSON.stringify(text.slice(0, 32)).replace(/[^ -~]/g, "?");
}
