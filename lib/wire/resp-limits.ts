// The bounds of the protocol with the lookup server. A connection that breaks one gets an error and is closed.
// RESP: https://redis.io/docs/latest/develop/reference/protocol-spec/

/** Longest request, in bytes with its framing: a LEAVE of the longest text, sealed and in base64, needs some 90,000. */
export const MAX_REQUEST_BYTES = 96 * 1024;

/** Longest single argument of a request, in bytes. */
export const MAX_ARGUMENT_BYTES = 92 * 1024;

/** Most arguments of a request, the command's name included: WATCH has a thousand. */
export const MAX_ARGUMENTS = 1025;

/** Longest inline request (a line typed into nc), in bytes without its end. */
export const MAX_INLINE_BYTES = 4 * 1024;

/** Longest string inside a reply that a client accepts, in bytes: INFO and COMMAND DOCS are the long ones. */
export const MAX_REPLY_STRING_BYTES = 1024 * 1024;

/** Most elements of one array, map, set or push that a client accepts: ALL of a full directory. */
export const MAX_REPLY_ELEMENTS = 2 ** 21;

/** Deepest nesting of a reply that a client accepts; the server's own replies nest three deep. */
export const MAX_REPLY_DEPTH = 16;

/** Longest line of a reply's framing or of a simple string or error, in bytes. */
export const MAX_REPLY_LINE_BYTES = 4 * 1024;
