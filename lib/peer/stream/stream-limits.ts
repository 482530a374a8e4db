// The numbers of the streams. Times in milliseconds of a monotonic clock.
import { ACK_SPAN, MAX_BODY_BYTES } from "../../wire/datagram-frames.ts";

/** Messages under way to one receiver: numbered above what it has settled. Both sides hold to these two windows. */
export const MESSAGE_WINDOW = 1024;
/** Their bytes; also what one peer can make us keep. Room for four of the longest. */
export const BYTE_WINDOW = 4 * MAX_BODY_BYTES;

/** Datagrams under way; fewer than one ACK can report, and about what a default socket buffer holds (212,992 bytes). */
export const MAX_WINDOW_PACKETS = Math.min(96, ACK_SPAN - 32);
/** RFC 6928 and RFC 9002 section 7.2. */
export const INITIAL_WINDOW_PACKETS = 10;
/**
 * RFC 9002 recommends 2. With 30 % loss each way two datagrams under way leave too few acknowledgements to tell a loss
 * from a pause, and every pause costs a timeout; 4 of 1200 bytes are still less than TCP's initial window.
 */
export const MIN_WINDOW_PACKETS = 4;

/** A datagram is lost when one sent this many later has arrived (RFC 9002 section 6.1.1). */
export const PACKET_THRESHOLD = 3;
/** …or when one sent later has arrived and this many round trips have passed (section 6.1.2). */
export const TIME_THRESHOLD = 9 / 8;
/** Timers are no finer than this. */
export const GRANULARITY = 1;

/**
 * The floor of the retransmission timeout. RFC 6298 says 1 s and RFC 8085 repeats it; a person's next line must not wait
 * that long on a LAN, and with 30 % loss each way every second message needs a retransmission. 4 ms is above the pauses
 * of a busy Node process (measured: 99.9 % of loopback round trips are under 2 ms); a needless repetition is ignored.
 */
export const MIN_TIMEOUT = 4;
/** Doubling stops here for the first probes, so that the seventh (30 % loss: 99 % need no more) comes after 0.25 s. */
export const FAST_PROBES = 12;
export const FAST_BACKOFF_LIMIT = 5; // 2^5
/** Beyond them doubling goes on up to this: the peer is gone, or the path is dead. */
export const MAX_TIMEOUT = 2000;
/**
 * Before the first sample, when the handshake had to be repeated and so measured nothing. RFC 6298 says 1 s; on a lossy LAN
 * a person would wait for that. On a long path the first datagrams are repeated needlessly, a few times until the answer.
 */
export const INITIAL_TIMEOUT = 20;
/** Everything has arrived but the application has not taken it: ask so often at first. */
export const SETTLE_PROBE = 10;

/**
 * While a message is being revoked, its receiver is asked so often: ten times in the second that its answer is waited for, so that
 * with 30 % loss each way one of a thousand answers is missed.
 */
export const REVOKE_INTERVAL = 100;
