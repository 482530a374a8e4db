// Every bound that the network can push against, with its reason. Times in milliseconds.
import { MAX_BODY_BYTES } from "../wire/datagram-frames.ts";
import type { PeerLimits } from "./types.ts";

export const DEFAULT_LIMITS: PeerLimits = {
  // About 1.5 KiB each; more people than anybody talks to at once.
  sessions: 1024,
  // A handshake is confirmed within a round trip. This is all that a flood may begin in 0.8 s: the oldest makes room, so on a
  // path that is shorter than this no initiator is pushed out. 6 KiB each (measured on 1024 of them, heap and buffers).
  halfOpen: 1024,
  // Each costs a quarter of a millisecond of Diffie-Hellman. One address may be a login node full of people, or a script
  // that calls `ptalk send` in a loop.
  handshakesPerAddress: 50,
  // 5 % of a core; beyond it, senders have to prove their endpoints.
  handshakesWithoutCookie: 200,
  // A quarter of a core is the most that strangers can have.
  handshakesWithCookie: 1000,
  // 64 of the longest messages.
  reassemblyBytes: 64 * MAX_BODY_BYTES,
  queuedMessages: 4096,
  // Numbers have 32 bits; twice as many is the end.
  streamMessages: 2 ** 31 - 1,
};

/** A token bucket holds twice its rate: a burst is not yet a flood. */
export const BURST_SECONDS = 2;
/** Addresses whose rate is remembered; the oldest makes room. */
export const MAX_TRACKED_ADDRESSES = 4096;
/** COOKIEs, and answers to repeated INITs, per second: they cost a hash and a system call. */
export const CHEAP_REPLIES = 2000;

/** Streams without a session that are remembered for exactly-once; see inbound-streams.ts. */
export const MAX_REMEMBERED_STREAMS = 4096;

/**
 * First wait for the answer to an INIT. RFC 6298's second is for strangers across the Internet, and no person waits there.
 * On a longer path a few INITs of 180 bytes are repeated needlessly, and cost the responder a look into a table.
 */
export const HANDSHAKE_TIMEOUT = 20;
/** Growth of that wait: with 30 % loss each way the seventh attempt (99 %) goes out after 0.23 s. */
export const HANDSHAKE_BACKOFF = 1.25;
export const MAX_HANDSHAKE_TIMEOUT = 1000;

/** A session is given up for a new handshake after so many unanswered probes and so long a silence. */
export const SILENT_PROBES = 4;
export const SILENCE = 100;
/** The longest silence that a slow handshake explains: its peer may only have come late. */
export const MAX_SILENCE = 2000;

/** A session in use gets fresh keys after this (time or datagrams): the next one to send begins a handshake… */
export const REKEY_AFTER = 10 * 60_000;
export const REKEY_DATAGRAMS = 2 ** 24;
/** …and is not used beyond this. Counters must stay below 2^32 (ACK). */
export const REJECT_AFTER = 30 * 60_000;
export const REJECT_DATAGRAMS = 2 ** 31;
/** A session is forgotten after so long a silence. */
export const IDLE_SESSION = 5 * 60_000;
export const HALF_OPEN_LIFE = 10_000;
/** How often the forgetting is done. */
export const SWEEP = 5_000;

/**
 * A peer with a session can write any address into its datagrams. Answers to an address that no handshake has proved are at
 * most so many times as long as what came from there (RFC 9000 section 8).
 */
export const UNPROVEN_FACTOR = 3;
/** The question that proves an address is good for so long… */
export const CHALLENGE_LIFE = 3_000;
/** …and asked again at most so often, while datagrams come from there. */
export const CHALLENGE_AGAIN = 100;
/** Paths of one session: all endpoints of a peer, the relay, and some that it has come from since. */
export const MAX_PATHS = 12;
/** A peer that the direct path leads to is not followed to the relay: it may send by both for a moment. */
export const DIRECT_SILENCE = 2_000;

/** Two handshakes that both sides began within so long are one too many. */
export const SIMULTANEOUS = 10_000;

/** A STUN question is repeated after so long, more and more seldom; then there is no answer. */
export const STUN_WAITS = [100, 200, 400, 800, 1600];

/** A port that was left is heard for so long: a peer that missed the first datagram from the new one sends there still. */
export const OLD_PORT_LIFE = 30_000;

/** A called side sends so many INITs, and waits so long for the answer. */
export const INVITED_INITS = 3;
export const INVITATION = 3_000;

/** No direct path has answered so soon: it may need the other side to open it. */
export const CALL_AFTER = 20;

/** The relay is tried too when no direct path has answered after so long. */
export const RELAY_AFTER = 100;
/** While a session goes over the relay, direct paths are tried: at first so often… */
export const DIRECT_PROBE = 1_000;
/** …and, once so many have failed, after a rest that doubles from… */
export const DIRECT_PROBES = 2;
export const DIRECT_REST = 10_000;
/** …up to this. */
export const MAX_DIRECT_REST = 5 * 60_000;
/** They are not tried for a conversation that has been silent for so long. */
export const PROBE_RECENT = 60_000;

/** close() waits so long for the application to take the message that it was given: outputs take milliseconds. */
export const CLOSE_OUTPUT_WAIT = 500;
/** close() repeats its goodbye so often and so long… */
export const CLOSE_INTERVAL = 20;
export const CLOSE_WAIT = 300;
/** …to the peers that were heard of so recently. */
export const CLOSE_RECENT = 10_000;

/** A sender whose time is over waits so long for the word whether the text was shown. */
export const REVOKE_WAIT = 1_000;
/** close() waits so long for the answer: messages that are still under way then get an outcome all the same. */
export const CLOSE_REVOKE_WAIT = 300;

export const DEFAULT_SEND_TIMEOUT = 10_000;
export const DEFAULT_CLOSE_TIMEOUT = 1_000;
/** setTimeout's own limit is 2^31 - 1. */
export const MAX_SEND_TIMEOUT = 7 * 24 * 3_600_000;
/** Asked of the kernel for the socket's buffers; it may give less (net.core.rmem_max). */
export const SOCKET_BUFFER_BYTES = 1 << 20;
