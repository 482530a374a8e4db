// What the peer transport takes and gives: the contract between it and the client above. Types only.
import type { Endpoint, PathKind } from "../base/endpoint.ts";
import type { Identity } from "../crypto/identity.ts";
import type { Outcome } from "../wire/datagram-frames.ts";

/** A program to talk to: the key decides, the endpoints are only where it may be reached (all of them are tried at once). */
export interface PeerIdentity {
  /** Ed25519 public key, 32 bytes: only its holder can complete the handshake. */
  readonly key: Uint8Array;
  /** 1 to 8 of them, and places behind the relay (relayEndpoint()), which are tried when no other one answers soon. */
  readonly endpoints: readonly Endpoint[];
  /** For error messages only. */
  readonly name?: string;
}

export interface OutgoingMessage {
  /** The sender's name, at most 64 bytes of UTF-8. The receiver has to check it against the key. */
  readonly from: string;
  /** At most 65,536 bytes of UTF-8. */
  readonly text: string;
  /** Chosen by the sender, 1 to 64 bytes of UTF-8; only carried, never interpreted. */
  readonly id: string;
  /** "#ops", in which it is said, at most 65 bytes; none: to the receiver alone. Only carried. */
  readonly room?: string | undefined;
  /** Sent by a program without a person's doing; only carried. */
  readonly auto?: boolean;
  /** The id may have been used before: the receiver looks whether it has shown it. Only carried. */
  readonly repeated?: boolean;
  /** To everybody, from an administrator. Only carried. */
  readonly wall?: boolean;
}

export interface StreamSendOptions {
  /** Give up after so many milliseconds; 10,000 unless told otherwise. */
  readonly timeoutMs?: number;
  /** Aborting rejects with the signal's reason (an AbortError), and nothing of the message is sent any more. */
  readonly signal?: AbortSignal;
}

export interface IncomingMessage {
  /** The Ed25519 public key that the sender has proved to hold. */
  readonly key: Buffer;
  /** What the sender calls itself; not verified here. */
  readonly from: string;
  readonly text: string;
  /** Its sender calls it an administrator's word to everybody. */
  readonly wall?: boolean | undefined;
  readonly id: string;
  readonly room: string | null;
  readonly auto: boolean;
  /** The id may have been shown before, by this program or another one of this user. */
  readonly repeated: boolean;
  /** Another process of this user may have shown the text, and have been killed since. */
  readonly again: boolean;
  /** When it was handed over: milliseconds since the epoch, this machine's clock. */
  readonly at: number;
  /** Where the sender's last authenticated datagram came from; port 0: from there by the relay. */
  readonly address: Endpoint;
  readonly via: PathKind;
}

/** Of one message. Its sender may give it up as long as its output has not begun. */
export interface MessageOutput {
  /**
   * Right before the text is output. False: it must not be; its sender has given it up, or the transport is closing. Between
   * true and the outcome the sender hears neither "shown" nor "not shown".
   */
  begin(): boolean;
  /** Nothing of it was output after all. */
  release(): void;
}

/** A body that is no text: about a file (lib/wire/file-bodies.ts). */
export interface IncomingBody {
  /** The Ed25519 public key that the sender has proved to hold. */
  readonly key: Buffer;
  /** The listener's to keep. */
  readonly body: Buffer;
  /** Where the sender's last authenticated datagram came from: answers go there; port 0: by the relay. */
  readonly address: Endpoint;
  readonly via: PathKind;
}

export interface PeerTransportEvents {
  /**
   * One message, exactly once, in the order in which its sender sent it; the sender's next one follows after `settle` was
   * called, or this one was given up. `output.begin()` has to come before the output. `settle("accepted")` tells the sender
   * "delivered": call it when the text has been handed to the output. A refusal makes the sender's send() reject with a code that
   * says why. The first call counts. While no listener is there, every message is declined.
   */
  message: [message: IncomingMessage, settle: (outcome: Outcome) => void, output: MessageOutput];
  /** As "message", for a body about a file. While no listener is there, it is not understood. */
  body: [body: IncomingBody, settle: (outcome: Outcome) => void];
  path: [event: PathEvent];
  /** No direct path to this peer answers, or not soon: it may have to open the way from its side. Comes again while that lasts. */
  unanswered: [peer: { readonly key: Buffer; readonly name: string }];
  /** The socket failed for good (rare: the interface or the descriptor is gone). Without a listener it is only logged. */
  error: [error: Error];
}

export interface PeerTransportOptions {
  readonly identity: Identity;
  /** UDP port; 0 (any) unless told otherwise. */
  readonly port?: number;
  /** Numeric address to bind; all IPv4 and IPv6 endpoints unless told otherwise. */
  readonly address?: string;
  readonly limits?: Partial<PeerLimits>;
  /** Passes a datagram on to a place behind the relay, or loses it. Without it there is no relay. */
  readonly relay?: ((place: string, datagram: Buffer) => void) | undefined;
  /** Where the directory has this program, at the moment; empty (default): nowhere. */
  readonly ownHomes?: (() => readonly Endpoint[]) | undefined;
}

/** Messages to a peer go this way from now on. */
export interface PathEvent {
  /** Ed25519 public key. */
  readonly key: Buffer;
  /** As the last send() named it. */
  readonly name: string;
  readonly via: PathKind;
  /** Null by the relay. */
  readonly endpoint: Endpoint | null;
}

/** Every bound that a hostile network can push against; defaults and reasons in limits.ts. */
export interface PeerLimits {
  /** Established sessions; the longest idle one makes room. */
  readonly sessions: number;
  /** Sessions whose initiator has not yet proved to be there. */
  readonly halfOpen: number;
  /** Handshakes begun per second from one address (an IPv6 /64 counts as one): so many without a cookie, as many with one. */
  readonly handshakesPerAddress: number;
  /** Handshakes begun per second from everywhere, before a cookie is asked for. */
  readonly handshakesWithoutCookie: number;
  /** Handshakes begun per second from everywhere, with a valid cookie. */
  readonly handshakesWithCookie: number;
  /** Bytes of incoming messages kept for all peers together until they are complete and accepted. */
  readonly reassemblyBytes: number;
  /** Messages that wait for one peer. */
  readonly queuedMessages: number;
  /** Messages after which a stream to one peer ends and another one begins, as soon as none is under way; at most 2^31 - 1. */
  readonly streamMessages: number;
}

export interface HandshakeStats {
  /** By us; a repeated INIT is not another one. */
  readonly begun: number;
  /** By others, and answered with a RESPONSE. */
  readonly answered: number;
  /** Of both kinds, those that made a session in use. */
  readonly completed: number;
  /** Given up before an answer came, or answered and never confirmed. */
  readonly failed: number;
}

/** How a conversation with one program goes. */
export interface PeerReport {
  /** Ed25519 public key, base64. */
  readonly key: string;
  /** As the last send() named it. */
  readonly name: string | null;
  /** Where its datagrams come from, and ours go; null without a session, and by the relay. */
  readonly endpoint: Endpoint | null;
  /** Null without a session. */
  readonly via: PathKind | null;
  /** Smoothed, or the handshake's before anything was sent; null before the first measurement in this session. */
  readonly roundTripMs: number | null;
  /** The congestion window, and what of it is in use. */
  readonly windowBytes: number;
  readonly bytesInFlight: number;
  /** Messages that send() has not settled yet. */
  readonly waiting: number;
  /** Messages that it has accepted. */
  readonly delivered: number;
  /** Fragments sent more than once. */
  readonly retransmissions: number;
}

/** Counts since the transport was opened, but for `sessions`, `halfOpen` and `peers`. */
export interface PeerStats {
  readonly sessions: number;
  /** Sessions whose initiator has not yet proved to be there. */
  readonly halfOpen: number;
  readonly handshakes: HandshakeStats;
  /** Datagrams and bytes (UDP payload), both ways. */
  readonly datagramsSent: number;
  readonly datagramsReceived: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** Messages that their receivers have accepted. */
  readonly messagesDelivered: number;
  /** Messages that the application was given. */
  readonly messagesReceived: number;
  /** Fragments sent more than once. */
  readonly retransmissions: number;
  /** How often the other end of a session went on from another address or port. */
  readonly pathChanges: number;
  /** Datagrams that were dropped, by reason (docs/PEER-PROTOCOL.md lists them). */
  readonly dropped: Readonly<Record<string, number>>;
  /** Messages that were not accepted here, by the reason that their senders were given. */
  readonly refused: Readonly<Record<string, number>>;
  /** The programs that there is a session with, or that something waits for. */
  readonly peers: readonly PeerReport[];
}
