// The bounds of the server that are not the wire's own (lib/wire/resp-limits.ts): what one client may cost the others.

export interface Limits {
  // Bounds of one user of this host, by the kernel's uid, or else of one address, over all connections. Root and the administrators have none.
  /** Open connections of one address. Loopback is exempt: all users of this machine share it. */
  readonly connectionsPerAddress: number;
  /** Open connections of one user of this host; and of all its users together over loopback TCP. */
  readonly connectionsPerUid: number;
  /** Clients that are on, of one user of this host, or of one other address. */
  readonly clientsPerUid: number;
  /** Clients that are on over loopback TCP, of all users. */
  readonly clientsOverLoopback: number;
  /** Rooms that all clients of one user or address are in, at one worker; a client that is in three counts three times. */
  readonly roomsPerAccount: number;
  /** Bytes of replies and pushes that wait for one user or address, at one worker; beyond, the connection that they would go to is closed. */
  readonly unsentBytesPerAccount: number;
  /** Open connections in all; the bound of descriptors may be lower and then counts. One more ends the oldest that has not registered. */
  readonly connections: number;
  /** Requests of one connection in one second. */
  readonly requestsPerSecond: number;
  /** Bytes of replies and pushes that wait for a reader, in one connection; beyond it is closed. */
  readonly unsentBytes: number;
  /** Bytes of unpaged ALLs that wait for their readers in one worker; beyond, the one that waits longest is closed. */
  readonly longReplyBytes: number;
  /** Ms that one of them may take to be read. */
  readonly longReplyMs: number;
  /** Clients on up to which a connection may watch everybody. */
  readonly watchLimit: number;
  /** Names that are remembered with their keys, registered at the moment or not. */
  readonly names: number;
}

/**
 * Each that comes or goes is pushed to everybody: the cost grows with the square of their number, and a person reads no more of them.
 * Watchers of names and rooms have no such bound.
 */
export const DEFAULT_WATCH_LIMIT = 256;

/** Clients that there is room for beyond those that come over loopback TCP. */
const KEPT_FOR_ATTESTED = 64;

/** @param capacity clients that the directory has room for */
export function defaultLimits(capacity: number): Limits {
  return {
    // A login node of a cluster is hundreds of people behind one address.
    connectionsPerAddress: 1024,
    // Half of all: no user keeps the others out.
    connectionsPerUid: capacity + 512,
    // Half of all, as with connections; a server for a few has at least 16.
    clientsPerUid: Math.max(16, Math.ceil(capacity / 2)),
    // Clients of ptalk move to a Unix socket, but for those in containers. What is left is for users that the kernel vouches for; a server for
    // a few keeps nothing back.
    clientsOverLoopback: capacity < 1024 ? Number.MAX_SAFE_INTEGER : capacity - KEPT_FOR_ATTESTED,
    // A person is in a handful, a user's robots are in some hundred.
    roomsPerAccount: 1024,
    // Eight readers that have stopped at once.
    unsentBytesPerAccount: 32 * 1024 * 1024,
    // Everybody's session, and as many short-lived questions again.
    connections: 2 * capacity + 1024,
    // Several times what one connection reaches with pipelining: only a runaway loop meets it.
    requestsPerSecond: 5_000_000,
    unsentBytes: 4 * 1024 * 1024,
    // Three of the longest there can be.
    longReplyBytes: 128 * 1024 * 1024,
    longReplyMs: 60_000,
    watchLimit: DEFAULT_WATCH_LIMIT,
    // A million, each with a key of its own, take 300 MB in each worker (measured with a script that fills a NameOwnership).
    names: Math.max(65_536, Math.min(4 * capacity, 1_048_576)),
  };
}

/** Replies beyond this many bytes leave before further requests of the same chunk are read. */
export const FLUSH_BYTES = 256 * 1024;

/** A connection with more unsent bytes than this is not read from until it has taken them. */
export const CLOGGED_BYTES = 64 * 1024;

/** Calls of one client in a second, and calls that are passed on to one. */
export const CALLS_OF_CALLER = 10;
export const CALLS_TO_CALLEE = 20;

/** A connection with more unsent bytes than this gets no relayed datagrams: they would be late, and others wait behind them. */
export const RELAY_UNSENT = 64 * 1024;

/** Ms without progress after which a connection with unsent bytes is closed. */
export const STUCK_MS = 30_000;

/** Seconds of silence after which the kernel probes a connection; it gives up ten unanswered seconds later (tcp(7)). */
export const KEEPALIVE_MS = 10_000;

/** Ms that what was sent may stay unacknowledged before the kernel gives the connection up. */
export const UNACKNOWLEDGED_MS = 20_000;

/** Ms of silence after which a client that registered with PROBE is sent one, and ms it has to say anything. */
export const PROBE_AFTER_MS = 10_000;
export const PROBE_ANSWER_MS = 10_000;

/** Ms between two looks at silent and stuck connections. */
export const HEALTH_CHECK_MS = 2_500;

/** Ms that a connection may take to read an error before it is cut. */
export const LINGER_MS = 1_000;

/** Ms that a TLS handshake may take. */
export const HANDSHAKE_MS = 10_000;

/** Rows written down before other connections get their turn: well under a millisecond. */
export const ROWS_PER_TURN = 256;

/** Unpaged ALLs that one worker writes down at the same time; further ones wait in line. */
export const CONCURRENT_ALLS = 4;

/** Clients up to which ALL without CURSOR answers; above, one reply would be tens of megabytes. */
export const MAX_UNPAGED = 65_536;

/** Ms in which a server that is drained ends its connections, and ms between two of its turns at them. */
export const DRAIN_MS = 2_000;
export const DRAIN_TURN_MS = 50;

/** Attempts at a registration whose outcome is unknown, and ms between two attempts at any write of that kind. */
export const MAX_REGISTER_ATTEMPTS = 3;
export const UNKNOWN_RETRY_MS = 100;

/** Names and rooms that one connection watches, at most: everybody that a person deals with. */
export const MAX_INTERESTS = 1024;
