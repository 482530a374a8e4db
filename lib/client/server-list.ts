// Which of the servers that a user has named a client uses: in their order, the first that answers and is the one that it was before.
//
//  1. One that does not answer in time, or answers as something else, is passed over.
//  2. One with another certificate or key than before is passed over too, with a warning: another program may pretend to be it.
//  3. What a server refuses by a rule (a ban) counts. No other server is asked whether it sees that differently.
//  4. Behind them come those that a server has told of: the other servers of its directory. The word of one that this client knows, over a
//     connection that nobody reads or changes, is remembered like a first contact; it never replaces what was remembered before. A program that
//     starts later has them behind its list, too.
//  5. When none is left, the error names each of them and why. That of a changed certificate comes first: it needs a person.
import { type Remedy, TalkError } from "../base/errors.ts";
import { isFingerprint } from "../base/fingerprint-text.ts";
import { seconds } from "../base/seconds.ts";
import {
  DEFAULT_SERVER,
  formatServerAddress,
  MAX_SERVERS,
  parseServerAddress,
  type ServerAddress,
} from "../base/server-address.ts";
import { decodeBase64, KEY_BYTES } from "../crypto/signed-statements.ts";
import { KnownDirectories, type MetServer, type PinScope } from "../store/known-directories.ts";
import { KnownServers } from "../store/known-peers.ts";
import { ReplyError, type RespValue } from "../wire/resp-reply.ts";
import { KnownServer } from "./known-server.ts";

/** Milliseconds that a server has to take the connection and to greet, while others may answer instead. */
const ATTEMPT_LIMIT_MS = 4_000;

/** A server, and what is remembered of it. */
export interface ListedServer {
  readonly address: ServerAddress;
  /** Throws to refuse it. */
  readonly checkCertificate: (certificate: Buffer) => void;
  /** Which directory a server is that has greeted; throws to refuse it. @returns where its names are remembered */
  readonly identify: (server: MetServer) => PinScope;
}

/** @param servers that the user has named together: they may serve one directory, each with its own key */
export function listedServers(stateDir: string, servers: readonly ServerAddress[]): ListedServer[] {
  return servers.map((address) => {
    const known = new KnownServer(stateDir, address, servers);
    return {
      address,
      checkCertificate: (certificate) => known.checkCertificate(certificate),
      identify: (met) => known.identify(met),
    };
  });
}

/** What a server says of another one of its directory. */
export interface ToldServer {
  readonly address: ServerAddress;
  /** "SHA256:…"; null: it is a plain server. */
  readonly certificate: string | null;
  /** Its own public key, base64. */
  readonly key: string;
}

/** The server that says it: one that this client has met. */
export type Teller = Pick<MetServer, "address" | "directory">;

/** The reply to SERVERS; what cannot be understood is left out. */
export function toldServersIn(reply: RespValue): ToldServer[] {
  const rows = Array.isArray(reply) ? reply.slice(0, MAX_SERVERS) : [];
  return rows.flatMap((row) => (Array.isArray(row) ? (toldServer(row) ?? []) : []));
}

function toldServer([text, certificate, key]: readonly RespValue[]): ToldServer | null {
  if (typeof text !== "string" || typeof key !== "string" || decodeBase64(key, KEY_BYTES) === null) return null;
  if (certificate !== null && !isFingerprint(certificate)) return null;
  try {
    return { address: parseServerAddress(text, "server"), certificate, key };
  } catch {
    return null;
  }
}

/** Warnings about servers that were told of and cannot be used: each once. */
const MAX_UNUSABLE = 64;
const unusable = new Set<string>();

/** Remembers what a server says of others of its directory. @returns those that may be used: what is known of them says nothing else */
export function acceptedServers(stateDir: string, told: readonly ToldServer[], teller: Teller): ListedServer[] {
  return told.flatMap((server) => {
    const known = new KnownServer(stateDir, server.address, [teller.address, server.address]);
    try {
      known.trust(server, teller.directory);
    } catch (error) {
      if (!isOtherServer(error)) throw error;
      if (!unusable.has(error.message) && unusable.size < MAX_UNUSABLE) {
        unusable.add(error.message);
        process.emitWarning(`${error.message}. That server is not used`, { code: "PTALK_SERVER_PASSED_OVER" });
      }
      return [];
    }
    return [justThat(server, known, teller.directory)];
  });
}

/** Other servers of the directories of those that a user has named, as they were met or told of before: nothing else at their addresses is used. */
export function rememberedServers(stateDir: string, named: readonly ServerAddress[]): ListedServer[] {
  // At the default address it is this host's own server, whatever it has been.
  if (named.some((address) => formatServerAddress(address) === DEFAULT_SERVER)) return [];
  const [directories, certificates] = [new KnownDirectories(stateDir), new KnownServers(stateDir)];
  const found = new Map(named.map((address): [string, ListedServer | null] => [formatServerAddress(address), null]));
  for (const { server, key, directory } of named.flatMap((address) => directories.beside(address))) {
    if (found.has(server) || found.size === MAX_SERVERS) continue;
    const address = parseServerAddress(server, "server");
    const known = new KnownServer(stateDir, address, [...named, address]);
    found.set(server, justThat({ address, certificate: certificates.of(server), key }, known, directory));
  }
  return [...found.values()].filter((server) => server !== null);
}

const justThat = ({ address, certificate, key }: ToldServer, known: KnownServer, directory: string): ListedServer => ({
  address,
  checkCertificate: (shown) => known.checkTold(shown, certificate),
  identify: (met) => known.identifyTold(met, key, directory),
});

/** Connects to one of the servers, within the limit that there is where others may answer instead. @throws TalkError unreachable; what `connect` throws */
export async function inTime<T>(
  servers: readonly unknown[],
  { address }: { readonly address: ServerAddress },
  signal: AbortSignal | undefined,
  connect: (signal: AbortSignal | undefined) => Promise<T>,
): Promise<T> {
  if (servers.length === 1) return await connect(signal);
  const limit = new AbortController();
  const late = TalkError.unreachable(formatServerAddress(address), `no answer within ${seconds(ATTEMPT_LIMIT_MS)}`);
  const timer = setTimeout(() => limit.abort(late), ATTEMPT_LIMIT_MS);
  try {
    return await connect(signal === undefined ? limit.signal : AbortSignal.any([signal, limit.signal]));
  } finally {
    clearTimeout(timer); // what comes later on that connection has other limits
  }
}

/**
 * Does `use` with the first of them, in their order, with which it succeeds.
 * @throws TalkError that of the server, where there is one only; else unreachable, refused; what is no matter of a server at once
 */
export async function withFirst<T>(
  servers: readonly { readonly address: ServerAddress }[],
  use: (index: number) => Promise<T>,
): Promise<T> {
  const failures: Failure[] = [];
  for (const [index, { address }] of servers.entries()) {
    try {
      return await use(index);
    } catch (error) {
      if (servers.length === 1 || !isOfOneServer(error)) throw error;
      failures.push({ server: formatServerAddress(address), error });
      if (isOtherServer(error) && index + 1 < servers.length) tellPassedOver(error);
    }
  }
  throw noneAnswers(failures);
}

/** Another server may do: this one is gone, full, of another version, or not the one that it was. */
export function isOfOneServer(error: unknown): error is TalkError {
  if (!(error instanceof TalkError)) return false;
  if (error.code === "refused") return !(error.cause instanceof ReplyError);
  return ["unreachable", "full", "protocol", "try-again"].includes(error.code);
}

const OTHER_SERVER: ReadonlySet<Remedy | null> = new Set(["forget-certificate", "check-authority"]);

/** Its certificate or its key is not the one that is remembered. */
export function isOtherServer(error: unknown): error is TalkError {
  return error instanceof TalkError && error.code === "refused" && OTHER_SERVER.has(error.remedy);
}

interface Failure {
  readonly server: string;
  readonly error: TalkError;
}

function noneAnswers(failures: readonly Failure[]): TalkError {
  const reasons = failures.map(({ server, error }) => {
    const message = error.message.replace(`no lookup server at ${server}: `, "");
    return message.includes(server) ? message : `${server}: ${message}`;
  });
  const told = failures.find(({ error }) => error.code === "refused")?.error;
  const message = `none of ${failures.length} lookup servers answers: ${reasons.join("; ")}`;
  const { remedy, subject } = told ?? common(failures);
  const cause = new AggregateError(failures.map(({ error }) => error));
  return new TalkError(told?.code ?? "unreachable", message, {
    ...{ cause, ...(remedy === null ? {} : { remedy }), ...(subject === null ? {} : { subject }) },
  });
}

/** What helps with each of them, if one thing does. */
function common(failures: readonly Failure[]): Pick<TalkError, "remedy" | "subject"> {
  const [first] = failures;
  const isShared = first !== undefined && failures.every(({ error }) => error.remedy === first.error.remedy);
  return isShared ? first.error : { remedy: null, subject: null };
}

function tellPassedOver({ message }: TalkError): void {
  process.emitWarning(`${message}. The next server of the list is used`, { code: "PTALK_SERVER_PASSED_OVER" });
}
