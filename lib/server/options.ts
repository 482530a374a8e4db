// A server's options, checked and completed.
import { availableParallelism } from "node:os";
import { TalkError } from "../base/errors.ts";
import { DEFAULT_SERVER, formatServerAddress, parseServerAddress, type ServerAddress } from "../base/server-address.ts";
import { checkSocketPath } from "../base/socket-path.ts";
import { type DirectoryChoice, type DirectoryKind, MAX_CAPACITY } from "../directory/open.ts";
import { DEFAULT_WATCH_LIMIT, defaultLimits, type Limits } from "./limits.ts";
import { type Log, silentLog } from "./log.ts";

/** For `LookupServer.start()`. Each is a flag of `ptalk serve` too. */
export interface ServerOptions {
  /** HOST:PORT, [IPV6]:PORT or the two apart; port 0 lets the system pick. Default 127.0.0.1:5518. */
  readonly listen?: string | ServerAddress;
  /**
   * Worker processes, 0 to 64. Default: one per core, at most 4. With 0 everything runs in the calling process: for tests and
   * small embedded servers.
   */
  readonly workers?: number;
  /** Clients there is room for, 1 to 1,048,576. Default 4096. */
  readonly capacity?: number;
  /** Stop when the last client has gone and one had come, or 60 s after starting alone. */
  readonly exitWhenEmpty?: boolean;
  /** PEM files of a certificate (with its chain) and its key. Both or neither. */
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  /**
   * Serve with TLS; without tlsCert, with a certificate that is made once and kept in the state directory. False: without,
   * even if there is a tlsCert.
   */
  readonly tls?: boolean;
  /** Allow other addresses than loopback without TLS. */
  readonly insecure?: boolean;
  /** The login names of this host belong to no particular user, except to their own users on this host. */
  readonly openNames?: boolean;
  /** Over the network only clients that are on may read who is on; users of this host may always. */
  readonly private?: boolean;
  /** Logins of users of this host who may administer the server (`ptalk admin`), beside root and the server's own user. */
  readonly admins?: readonly string[];
  /**
   * Where names, keys and certificate are kept. Default: $XDG_STATE_HOME/ptalk/server-PORT; with port 0 a temporary directory,
   * removed at the end. One server at a time.
   */
  readonly stateDir?: string;
  /**
   * Keeps nothing beyond its life, in no state directory: neither names nor its own key. For the server that clients start for
   * themselves, which must not depend on the user who started it.
   */
  readonly ephemeral?: boolean;
  /** Keep messages for clients that are off, in the state directory. Default: true, but not for an ephemeral server. */
  readonly mailbox?: boolean;
  /** Bytes of all that is kept; default 64 MiB. */
  readonly mailboxSize?: number;
  /** Seconds that a message is kept; default 7 days. */
  readonly mailboxAge?: number;
  /** Pass sealed datagrams on between clients that no direct path connects. Default: true. */
  readonly relay?: boolean;
  /** Bytes a second of each client; default 256 KiB. */
  readonly relayRate?: number;
  /** Table of the server that has died in this one's place: for some seconds its names go to their keys only. */
  readonly predecessor?: string;
  /** Permission bits of the table in shared memory, exactly. Default 0o644: every user of this host may read it. */
  readonly tableMode?: number;
  /**
   * Where the directory is. "shm" (default): in shared memory, where every program of this host can read it (`Directory.open`).
   * "memory": in this process alone, with `workers: 0`; nothing is in /dev/shm. "etcd://HOST:PORT[,…]/PREFIX": shared with other servers,
   * through etcd, and in shared memory besides.
   */
  readonly directory?: DirectoryKind | `etcd://${string}`;
  /** PEM files for etcd: authorities that it is checked by; certificate and key of this server, both or neither. Default: no TLS. */
  readonly directoryCa?: string;
  readonly directoryCert?: string;
  readonly directoryKey?: string;
  /**
   * One word, the same at all servers that share the directory: on all their hosts a uid means the same person. A login name is then no
   * other uid's. Default: none is stated, which all have to do then.
   */
  readonly realm?: string;
  /** A listening socket's descriptor, from systemd or another parent; `listen` is ignored then. */
  readonly listenFd?: number;
  /** Path of a Unix socket to listen at as well, at most 107 bytes; "none": without. Default: none. */
  readonly socket?: string;
  /** Descriptor of a Unix socket that listens, likewise; `socket` is ignored then. */
  readonly socketFd?: number;
  /** Clients on up to which a connection may watch everybody. Default 256. */
  readonly watchLimit?: number;
  /**
   * HOST:PORT on which Prometheus reads the server's counters, over HTTP at /metrics. Another address than loopback needs
   * `insecure`. Default: none.
   */
  readonly metrics?: string;
  /** HOST:PORT on which the other servers of a shared directory reach this one, for CALL, the relay and kept messages. HOST is as they know it. */
  readonly peerListen?: string;
  readonly limits?: Partial<Limits>;
  readonly log?: Log;
  /** The log is for machines; workers need to know. */
  readonly json?: boolean;
  /** Breaks off the start: nothing is left of it. A server that has started is stopped with stop(). */
  readonly signal?: AbortSignal;
}

export interface ServerSettings extends DirectoryChoice {
  readonly listen: ServerAddress;
  readonly listenFd: number | null;
  readonly socket: string | null;
  readonly socketFd: number | null;
  readonly workers: number;
  readonly capacity: number;
  readonly exitWhenEmpty: boolean;
  readonly tls: boolean;
  readonly tlsCert: string | null;
  readonly tlsKey: string | null;
  readonly insecure: boolean;
  readonly openNames: boolean;
  readonly private: boolean;
  readonly admins: readonly string[];
  readonly stateDir: string | null;
  readonly ephemeral: boolean;
  readonly mailbox: boolean;
  readonly mailboxSize: number;
  readonly mailboxAge: number;
  readonly relay: boolean;
  readonly relayRate: number;
  readonly predecessor: string | null;
  readonly tableMode: number;
  readonly metrics: ServerAddress | null;
  readonly peerListen: ServerAddress | null;
  readonly limits: Limits;
  readonly log: Log;
  readonly json: boolean;
  readonly signal: AbortSignal | null;
  /** There is no log. */
  readonly quiet: boolean;
}

export const DEFAULT_CAPACITY = 4096;
/** Room for 100,000 lines, or a thousand of the longest texts. */
export const DEFAULT_MAILBOX_BYTES = 64 * 2 ** 20;
export const DEFAULT_MAILBOX_AGE_S = 7 * 86_400;
/** A file of a megabyte in four seconds, and no one fills the server's line. */
const DEFAULT_RELAY_RATE = 256 * 1024;
const MOST_DEFAULT_WORKERS = 4;
const MAX_WORKERS = 64; // each takes a seat in the lock's ledger of 256, beside readers

/** What each option has to be: for programs that no compiler has checked. */
const RULES: Readonly<Record<keyof ServerOptions, readonly [holds: (value: unknown) => boolean, what: string]>> = {
  listen: [(value) => typeof value === "string" || isObject(value), "HOST:PORT"],
  workers: [isNumber, "a number"],
  capacity: [isNumber, "a number"],
  exitWhenEmpty: [isBoolean, "true or false"],
  tlsCert: [isString, "a file's path"],
  tlsKey: [isString, "a file's path"],
  tls: [isBoolean, "true or false"],
  insecure: [isBoolean, "true or false"],
  openNames: [isBoolean, "true or false"],
  private: [isBoolean, "true or false"],
  admins: [
    (value) => Array.isArray(value) && value.every((login) => isString(login) && login !== ""),
    "a list of logins",
  ],
  stateDir: [isString, "a folder's path"],
  ephemeral: [isBoolean, "true or false"],
  mailbox: [isBoolean, "true or false"],
  mailboxSize: [isNumber, "a number of bytes"],
  mailboxAge: [isNumber, "a number of seconds"],
  relay: [isBoolean, "true or false"],
  relayRate: [isNumber, "a number of bytes"],
  predecessor: [isString, "the name of a table"],
  tableMode: [isNumber, "a number"],
  directory: [isString, '"shm", "memory" or "etcd://HOST:PORT[,…]/PREFIX"'],
  directoryCa: [isString, "a file's path"],
  directoryCert: [isString, "a file's path"],
  directoryKey: [isString, "a file's path"],
  realm: [isString, "a word"],
  listenFd: [isNumber, "a descriptor"],
  socket: [isString, "a path"],
  socketFd: [isNumber, "a descriptor"],
  watchLimit: [isNumber, "a number"],
  metrics: [isString, "HOST:PORT"],
  peerListen: [isString, "HOST:PORT"],
  limits: [isObject, "an object"],
  log: [isLog, "an object with the functions error, warn and info"],
  json: [isBoolean, "true or false"],
  signal: [(value) => value instanceof AbortSignal, "an AbortSignal"],
};

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
function isNumber(value: unknown): boolean {
  return typeof value === "number";
}
function isBoolean(value: unknown): boolean {
  return typeof value === "boolean";
}
function isString(value: unknown): boolean {
  return typeof value === "string";
}
function isLog(value: unknown): boolean {
  return isObject(value) && ["error", "warn", "info"].every((level) => typeof Reflect.get(value, level) === "function");
}

function checkTypes(options: unknown): void {
  if (!isObject(options)) throw misuse("options", "options must be an object");
  for (const [key, value] of Object.entries(options)) {
    if (!Object.hasOwn(RULES, key)) throw misuse(key, `no option ${key}; there are ${Object.keys(RULES).join(", ")}`);
    const [holds, what] = RULES[key as keyof ServerOptions];
    if (value !== undefined && !holds(value)) throw misuse(key, `${key} must be ${what}`);
  }
}

function misuse(subject: string, rule: string): TalkError {
  return new TalkError("usage", `LookupServer.start(): ${rule}`, { subject });
}

/** @throws TalkError usage, with the option as its subject */
export function readOptions(options: ServerOptions): ServerSettings {
  checkTypes(options);
  const capacity = whole("capacity", options.capacity ?? DEFAULT_CAPACITY, 1, MAX_CAPACITY);
  if ((options.tlsCert === undefined) !== (options.tlsKey === undefined)) {
    throw new TalkError("usage", "a TLS certificate needs its key, and a key its certificate", {
      remedy: "both-tls-files",
    });
  }
  const { directory = "shm" } = options;
  const isShared = directory.startsWith("etcd://");
  if (directory !== "shm" && directory !== "memory" && !isShared) {
    throw TalkError.usage(
      `directory must be "shm", "memory" or "etcd://HOST:PORT[,…]/PREFIX", not ${JSON.stringify(directory)}`,
    );
  }
  checkShared(options, isShared);
  if (directory === "memory" && options.workers !== 0) {
    throw TalkError.usage('directory "memory" is this process\'s own: it goes with workers: 0');
  }
  return {
    ...directoryChoice(options),
    listen: parseServerAddress(listenText(options.listen ?? DEFAULT_SERVER), "listen", 0),
    listenFd: options.listenFd ?? null,
    socket: socketPath(options),
    socketFd: options.socketFd ?? null,
    workers: whole(
      "workers",
      options.workers ?? Math.min(availableParallelism(), MOST_DEFAULT_WORKERS),
      0,
      MAX_WORKERS,
    ),
    capacity,
    exitWhenEmpty: options.exitWhenEmpty ?? false,
    tls: options.tls ?? options.tlsCert !== undefined,
    tlsCert: options.tlsCert ?? null,
    tlsKey: options.tlsKey ?? null,
    insecure: options.insecure ?? false,
    openNames: options.openNames ?? false,
    private: options.private ?? false,
    admins: options.admins ?? [],
    stateDir: options.stateDir ?? null,
    ephemeral: options.ephemeral ?? false,
    mailbox: options.mailbox ?? true,
    mailboxSize: whole("mailboxSize", options.mailboxSize ?? DEFAULT_MAILBOX_BYTES, 1, Number.MAX_SAFE_INTEGER),
    mailboxAge: options.mailboxAge ?? DEFAULT_MAILBOX_AGE_S,
    relay: options.relay ?? true,
    relayRate: whole("relayRate", options.relayRate ?? DEFAULT_RELAY_RATE, 1, Number.MAX_SAFE_INTEGER),
    predecessor: options.predecessor ?? null,
    tableMode: ownerMode(options.tableMode ?? 0o644),
    peerListen: options.peerListen === undefined ? null : parseServerAddress(options.peerListen, "peer-listen", 0),
    metrics: options.metrics === undefined ? null : parseServerAddress(options.metrics, "metrics", 0),
    limits: {
      ...defaultLimits(capacity),
      watchLimit: whole("watch-limit", options.watchLimit ?? DEFAULT_WATCH_LIMIT, 0, MAX_CAPACITY),
      ...options.limits,
    },
    log: options.log ?? silentLog,
    json: options.json ?? false,
    signal: options.signal ?? null,
    quiet: options.log === undefined,
  };
}

const REALM = /^[A-Za-z0-9._-]{1,64}$/;

function checkShared(
  { directoryCa, directoryCert, directoryKey, realm, peerListen }: ServerOptions,
  isShared: boolean,
): void {
  const given = Object.entries({
    "directory-ca": directoryCa,
    "directory-cert": directoryCert,
    "directory-key": directoryKey,
    realm,
    "peer-listen": peerListen,
  }).find(([, value]) => value !== undefined);
  if (given !== undefined && !isShared) {
    const [subject] = given;
    throw new TalkError("usage", `${subject} is for a directory that servers share: --directory etcd://…`, { subject });
  }
  if (realm === undefined || REALM.test(realm)) return;
  throw new TalkError("usage", `realm must be 1 to 64 letters, digits, ".", "_" or "-", not ${JSON.stringify(realm)}`, {
    subject: "realm",
  });
}

function directoryChoice(options: ServerOptions): DirectoryChoice {
  const { directory = "shm", directoryCa, directoryCert, directoryKey, realm = "" } = options;
  if (directory === "shm" || directory === "memory") return { directory, shared: null };
  const files = { ca: directoryCa ?? null, certificate: directoryCert ?? null, key: directoryKey ?? null };
  return { directory: "etcd", shared: { address: directory, ...files, realm } };
}

function listenText(listen: string | ServerAddress): string {
  return typeof listen === "string" ? listen : formatServerAddress(listen);
}

function socketPath({ socket = NO_SOCKET, socketFd }: ServerOptions): string | null {
  if (socket === NO_SOCKET || socketFd !== undefined) return null;
  checkSocketPath(socket, "socket");
  return socket;
}

const NO_SOCKET = "none";
const OWNER_READ_WRITE = 0o600;

/** The workers open the table by its name, as the server's user. */
function ownerMode(mode: number): number {
  whole("table-mode", mode, 0, 0o777);
  if ((mode & OWNER_READ_WRITE) === OWNER_READ_WRITE) return mode;
  throw TalkError.usage(
    `table-mode must let the server's own user read and write: 0600 or more, not 0${mode.toString(8)}`,
  );
}

function whole(name: string, value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new TalkError("usage", `${name} must be a whole number from ${min} to ${max}, not ${value}`, { subject: name });
}
