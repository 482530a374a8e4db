// Questions that any connection may ask the server: who is this, who is on, whose is this name. And a connection for them alone,
// which has no name and is in no directory: `openDirectory`.
import { TalkError } from "../base/errors.ts";
import { defaultStateDir } from "../base/files.ts";
import { parseServerList } from "../base/server-address.ts";
import { decodeBase64, KEY_BYTES } from "../crypto/signed-statements.ts";
import type { DirectoryEntry, NameOwner } from "../directory/entry.ts";
import { readEntry } from "../directory/entry-wire.ts";
import type { MetServer } from "../store/known-directories.ts";
import { ProtocolError } from "../wire/protocol-error.ts";
import type { RespValue } from "../wire/resp-reply.ts";
import { KnownServer } from "./known-server.ts";
import { ServerConnection } from "./server-connection.ts";
import { inTime, rememberedServers, withFirst } from "./server-list.ts";
import type { DirectoryReader, OpenDirectoryOptions } from "./types.ts";

/** Clients of one page: some 200 KiB. */
const PAGE = 512;
/** Past this a server's cursor counts as one that never ends. */
const MAX_PAGES = 8192;

export async function lookupEntry(connection: ServerConnection, name: string): Promise<DirectoryEntry | null> {
  return entryFrom(await connection.ask("LOOKUP", name));
}

/** The owner of the name, whether on or off; null if it has none. */
export async function ownerOf(connection: ServerConnection, name: string): Promise<NameOwner | null> {
  const reply = await connection.ask("OWNER", name);
  if (reply === null) return null;
  const of = (field: string): RespValue | undefined => (reply instanceof Map ? reply.get(field) : undefined);
  const [key, user, uid, attested, login] = ["key", "user", "uid", "attested", "login"].map(of);
  const [also, chain] = [of("also"), of("chain")];
  if (typeof key !== "string" || decodeBase64(key, KEY_BYTES) === null) {
    throw TalkError.protocol("OWNER is not answered with a key");
  }
  return {
    key,
    user: typeof user === "string" ? user : null,
    uid: typeof uid === "number" ? uid : null,
    attested: attested === "kernel" || attested === "munge" ? attested : null,
    isUnattestedLogin: login === 1,
    also: Array.isArray(also) ? also.filter((one) => typeof one === "string") : undefined,
    chain: typeof chain === "string" ? chain : undefined,
  };
}

/** Everyone, page by page; a client that joins or leaves meanwhile may or may not be among them (as with SCAN), none is twice. */
export async function allEntries(connection: ServerConnection): Promise<DirectoryEntry[]> {
  const found = new Map<string, DirectoryEntry>();
  let cursor = "0";
  for (let page = 0; page < MAX_PAGES; page++) {
    const reply: RespValue = await connection.ask("ALL", "CURSOR", cursor, "COUNT", PAGE);
    if (!Array.isArray(reply) || !Array.isArray(reply[1])) throw TalkError.protocol("ALL is not a cursor and a page");
    for (const item of reply[1]) {
      const entry = entryFrom(item);
      if (entry) found.set(entry.name, entry);
    }
    cursor = String(reply[0]);
    if (cursor === "0") return [...found.values()];
  }
  throw TalkError.protocol("ALL has no end");
}

/** At most MAX_NAMES (wire/commands.ts) names of listed clients that begin so, in their order. */
export async function namesThatBegin(connection: ServerConnection, prefix: string): Promise<string[]> {
  const reply = await connection.ask("NAMES", prefix);
  if (!Array.isArray(reply)) throw TalkError.protocol("NAMES is not answered with names");
  return reply.filter((name) => typeof name === "string");
}

/** How many are on. */
export async function clientCount(connection: ServerConnection): Promise<number> {
  const reply = await connection.ask("COUNT");
  if (typeof reply !== "number") throw TalkError.protocol("COUNT is not answered with a number");
  return reply;
}

/** The members of a room, in the order of their folded names. */
export async function roomMembers(connection: ServerConnection, room: string): Promise<DirectoryEntry[]> {
  const reply = await connection.ask("MEMBERS", room);
  if (!Array.isArray(reply)) throw TalkError.protocol("MEMBERS is not answered with clients");
  return reply.map(entryFrom).filter((entry) => entry !== null);
}

/**
 * @returns null for the reply "unknown", and for a client whose name nobody can have: nothing can be sent to it
 * @throws TalkError protocol for anything that is no client
 */
export function entryFrom(reply: RespValue): DirectoryEntry | null {
  if (reply === null) return null;
  try {
    return readEntry(reply);
  } catch (error) {
    if (error instanceof TalkError && error.code === "bad-name") return null;
    const isForeseen = error instanceof ProtocolError || error instanceof TalkError;
    throw isForeseen ? TalkError.protocol(error.message, error) : error;
  }
}

interface OpenConnectionOptions extends OpenDirectoryOptions {
  readonly isAdmin?: boolean;
  /** Any server of the same directory will do. */
  readonly isAboutDirectory?: boolean;
}

/** @throws TalkError unreachable, refused (certificate), protocol; AbortError */
export async function openConnection({
  server,
  stateDir = defaultStateDir(),
  isAboutDirectory = false,
  ...options
}: OpenConnectionOptions): Promise<ServerConnection> {
  const addresses = parseServerList(server);
  const named = addresses.map((address) => {
    const known = new KnownServer(stateDir, address, addresses);
    const checkCertificate = (certificate: Buffer): void => known.checkCertificate(certificate);
    return { address, checkCertificate, identify: (met: MetServer): unknown => known.check(met) };
  });
  const servers = isAboutDirectory ? [...named, ...rememberedServers(stateDir, addresses)] : named;
  return withFirst(servers, async (index) => {
    const server = servers[index] as (typeof servers)[number];
    const { address, checkCertificate, identify } = server;
    const { connection, greeting } = await inTime(servers, server, options.signal, (signal) =>
      ServerConnection.greeted({ ...options, signal, address, checkCertificate }),
    );
    try {
      const { directory, isDirect, statement } = greeting;
      identify({ address, directory, isDirect, serverKey: statement.serverKey });
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  });
}

/** @throws as openConnection() */
export async function openDirectory(options: OpenDirectoryOptions): Promise<DirectoryReader> {
  const connection = await openConnection({ ...options, isAboutDirectory: true });
  const close = async (): Promise<void> => connection.close();
  return {
    lookup: (name) => lookupEntry(connection, name),
    all: () => allEntries(connection),
    names: (prefix) => namesThatBegin(connection, prefix),
    close,
    [Symbol.asyncDispose]: close,
  };
}
