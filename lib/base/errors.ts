// The errors that a person or a program meets, each with one code. Exit statuses and advice for a command line are lib/cli's.
// Knows nothing else of ptalk: everything may import it. (Errors of the operating system are IpcError, in lib/ipc.)

/** What went wrong, for programs. `failed.code` of the JSON events is one of {@link FAILED_CODES}. */
export type TalkErrorCode =
  | "no-such-user"
  | "no-such-process"
  | "not-delivered"
  | "unconfirmed"
  | "mailbox-full"
  | "no-key"
  | "key-mismatch"
  | "declined"
  | "not-understood"
  | "too-long"
  | "bad-name"
  | "bad-data"
  | "name-taken"
  | "name-reserved"
  | "too-many"
  | "unreachable"
  | "full"
  | "try-again"
  | "protocol"
  | "refused"
  | "timeout"
  | "usage"
  | "bad-config"
  | "closed"
  | "internal";

/** The reasons for which a message can fail: the `code` of a "failed" event. */
export const FAILED_CODES = [
  "no-such-user",
  "not-delivered",
  "key-mismatch",
  "declined",
  "not-understood",
  "too-long",
  "mailbox-full",
  "no-key",
] as const;
/** Why a message has failed. */
export type FailedCode = (typeof FAILED_CODES)[number];

/**
 * What the person at a command line could do about an error; how to say it is the command line's business (cli/advice.ts). Each
 * concerns the error's `subject`.
 */
export type Remedy =
  /** Subject: the user's name. */
  | "forget-key"
  /** Subject: HOST:PORT of the server. */
  | "forget-certificate"
  /** Subject: HOST:PORT of the server. */
  | "check-authority"
  | "start-server"
  | "smaller-capacity"
  | "secure-listener"
  | "both-tls-files"
  | "other-state-dir"
  | "other-port"
  | "other-metrics-port"
  | "local-metrics"
  /** Subject: the UDP port. */
  | "other-chat-port"
  /** Subject: HOST:PORT that a program which is no server has. */
  | "foreign-port"
  /** Subject: the socket of the host's service. */
  | "start-service"
  /** It needs a server that keeps names. */
  | "lasting-server"
  | "more-descriptors"
  | "plain-server"
  /** Subject: HOST:PORT of the server. */
  | "tls-server"
  /** Another program of this user has the name. */
  | "own-session"
  /** Subject: the name, a login name of the server's host. */
  | "reserved-name"
  /** Subject: the name of a peer that does not answer. */
  | "doctor-peer";

/**
 * The answer of one way to a peer. "nothing"; "refused": its host has nothing at that port (ICMP); "forbidden": a firewall of this host
 * does not let it out; "prohibited": one on the way does not let it through (ICMP); "unreachable": its host is not there (ICMP); "no-route":
 * there is no way to that network from here; "not-here", of the relay: the server has no such client now.
 */
export type WayAnswer = "nothing" | "refused" | "forbidden" | "prohibited" | "unreachable" | "no-route" | "not-here";

/** A way to a peer that was tried in vain. */
export interface TriedWay {
  /** "10.1.0.12:4000"; null for the relay. */
  readonly endpoint: string | null;
  readonly answer: WayAnswer;
}

export interface TalkErrorOptions extends ErrorOptions {
  readonly tried?: readonly TriedWay[];
  readonly remedy?: Remedy;
  readonly subject?: string;
}

/** An error that ptalk expects to happen: its message is a sentence for a person, its `code` is for programs. */
export class TalkError extends Error {
  override readonly name = "TalkError";
  readonly code: TalkErrorCode;

  /** What could be done, if anything can be said. */
  readonly remedy: Remedy | null;
  /** Whom or what the remedy is about; of a usage error in a call of the library, the option or argument. */
  readonly subject: string | null;
  /** The ways to the receiver of a message without an answer, each with its result. Otherwise empty. */
  readonly tried: readonly TriedWay[];

  constructor(
    code: TalkErrorCode,
    message: string,
    { remedy, subject, tried = [], ...options }: TalkErrorOptions = {},
  ) {
    super(message, options);
    this.tried = tried;
    this.code = code;
    this.remedy = remedy ?? null;
    this.subject = subject ?? null;
  }

  static noSuchUser(name: string): TalkError {
    return new TalkError("no-such-user", `no user ${quote(name)} is on`);
  }
  static noSuchProcess(pid: number): TalkError {
    return new TalkError("no-such-process", `there is no process ${pid}`);
  }
  /** No server runs on the default address. Clients keep one running there, so no user is on. */
  static nobodyOn(): TalkError {
    return new TalkError("no-such-user", "nobody is on");
  }
  /** @param reason a clause without a full stop: "no answer within 10 s" */
  static notDelivered(to: string, reason: string, cause?: unknown): TalkError {
    return new TalkError("not-delivered", `not delivered to ${quote(to)}: ${reason}`, { cause });
  }
  /** Its receiver may have shown it, and has not said. @param reason as for notDelivered() */
  static unconfirmed(to: string, reason: string, cause?: unknown): TalkError {
    const warning = "it may have arrived; sending again may double it";
    return new TalkError("unconfirmed", `unconfirmed to ${quote(to)}: ${reason}; ${warning}`, { cause });
  }
  /** No answer has come. @param reason as for notDelivered(), which says what was tried, too @param isExposed it may have arrived */
  static noAnswer(to: string, reason: string, tried: readonly TriedWay[], isExposed: boolean): TalkError {
    const why = `${reason}${triedText(tried)}`;
    const { code, message } = isExposed ? TalkError.unconfirmed(to, why) : TalkError.notDelivered(to, why);
    return new TalkError(code, message, { remedy: "doctor-peer", subject: printable(to), tried });
  }
  static noKey(to: string): TalkError {
    return new TalkError("no-key", `nothing can be left for ${quote(to)}: nobody knows a key of that name`);
  }
  static mailboxFull(to: string, cause?: unknown): TalkError {
    return new TalkError("mailbox-full", `not kept for ${quote(to)}: the server has no room for more of yours`, {
      cause,
    });
  }
  static noMailbox(to: string, cause?: unknown): TalkError {
    return new TalkError("not-understood", `not kept for ${quote(to)}: the server keeps no messages`, { cause });
  }
  /** Both fingerprints are in the message: the person has to decide, ptalk never does. */
  static keyMismatch(name: string, known: string, offered: string): TalkError {
    const message = `the key of ${quote(name)} has changed: known ${known}, offered ${offered}. Somebody may be pretending to be ${quote(name)}`;
    return new TalkError("key-mismatch", message, { remedy: "forget-key", subject: printable(name) });
  }
  /** On this host, where the user's own programs show which keys they use. */
  static impostor(name: string): TalkError {
    return new TalkError(
      "key-mismatch",
      `${quote(name)} is not that user of this host: the programs of that user use other keys`,
    );
  }
  /** The receiving program knows the sender's name under another key, and refuses the message. */
  static knownUnderAnotherKey(to: string): TalkError {
    return new TalkError("key-mismatch", `${quote(to)} refuses the message: it knows you under another key`);
  }
  /** @param reason a clause without a full stop, as in the next one */
  static declined(to: string, reason: string): TalkError {
    return new TalkError("declined", `${quote(to)} declines the message: ${reason}`);
  }
  /** @param reason empty: none is given */
  static fileDeclined(to: string, name: string, reason: string): TalkError {
    return new TalkError(
      "declined",
      `${quote(to)} declines the file ${quote(name)}${reason === "" ? "" : `: ${reason}`}`,
    );
  }
  static notUnderstood(to: string, reason: string): TalkError {
    return new TalkError("not-understood", `${quote(to)} does not understand the message: ${reason}`);
  }
  /** @param length and limit in bytes of UTF-8 */
  static tooLong(length: number, limit: number): TalkError {
    return new TalkError("too-long", `the message has ${length} bytes; the limit is ${limit}`);
  }
  static badName(name: string, reason: string): TalkError {
    return new TalkError("bad-name", `${quote(name)} is not a valid name: ${reason}`);
  }
  static badData(reason: string, cause?: unknown): TalkError {
    return new TalkError("bad-data", reason, { cause });
  }
  /** @param holder a clause that says who has it */
  static nameTaken(name: string, holder?: string, isOwnSession = false): TalkError {
    const message = `the name ${quote(name)} is taken${holder === undefined ? "" : `: ${holder}`}`;
    return new TalkError("name-taken", message, isOwnSession ? { remedy: "own-session" } : {});
  }
  /** A rule gives the name to another user. @param reason a clause */
  static nameReserved(name: string, reason: string): TalkError {
    const message = `the name ${quote(name)} is reserved: ${reason}`;
    return new TalkError("name-reserved", message, { remedy: "reserved-name", subject: printable(name) });
  }
  /** Another program of the same user has taken the name over. */
  static replaced(name: string): TalkError {
    return new TalkError("name-taken", `another program of yours has taken the name ${quote(name)} over`);
  }
  /** @param server "HOST:PORT" */
  static unreachable(server: string, reason: string, cause?: unknown, remedy?: Remedy): TalkError {
    const options = remedy === undefined ? { cause } : { cause, remedy, subject: server };
    return new TalkError("unreachable", `no lookup server at ${server}: ${reason}`, options);
  }
  /** @param capacity in clients */
  static full(capacity?: number): TalkError {
    const room = capacity === undefined ? "" : ` (room for ${capacity} clients)`;
    return new TalkError("full", `the directory is full${room}`);
  }
  static protocol(reason: string, cause?: unknown): TalkError {
    return new TalkError("protocol", `the other side does not speak ptalk's protocol: ${reason}`, { cause });
  }
  static refused(reason: string, cause?: unknown): TalkError {
    return new TalkError("refused", reason, { cause });
  }
  static usage(reason: string): TalkError {
    return new TalkError("usage", reason);
  }
  /** @param where the file, variable or flag that holds the bad value */
  static badConfig(where: string, reason: string, cause?: unknown): TalkError {
    return new TalkError("bad-config", `${where}: ${reason}`, { cause });
  }
  static closed(what: string): TalkError {
    return new TalkError("closed", `${what} is closed`);
  }
  static internal(reason: string, cause?: unknown): TalkError {
    return new TalkError("internal", reason, { cause });
  }
}

const ANSWER_TEXTS: Readonly<Record<WayAnswer, string>> = {
  nothing: "no answer",
  refused: "its host says that nothing listens there",
  forbidden: "a firewall of this host forbids it",
  prohibited: "a firewall on the way forbids it",
  unreachable: "that host cannot be reached",
  "no-route": "no way to that network from here",
  "not-here": "the server says that it is not there",
};

const SHOWN_WAYS = 4; // of at most eight and the relay: one or two lines

/** " (10.1.0.12:4000: no answer; no relay)" */
function triedText(tried: readonly TriedWay[]): string {
  if (tried.length === 0) return "";
  const direct = tried.filter(({ endpoint }) => endpoint !== null);
  const parts = direct.slice(0, SHOWN_WAYS).map(({ endpoint, answer }) => `${endpoint}: ${ANSWER_TEXTS[answer]}`);
  if (direct.length > SHOWN_WAYS) parts.push(`${direct.length - SHOWN_WAYS} more: no answer`);
  const relay = tried.find(({ endpoint }) => endpoint === null);
  parts.push(relay === undefined ? "no relay" : `over the relay: ${ANSWER_TEXTS[relay.answer]}`);
  return ` (${parts.join("; ")})`;
}

// Names reach messages from the network and the command line: control and format characters are shown, never sent.
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (c) => `<U+${hex(c)}>`);
}

function hex(character: string): string {
  return (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
}

const QUOTED_LIMIT = 64; // characters of foreign text in an error: enough to recognise it, never a screenful

function quote(text: string): string {
  const shown = text.length > QUOTED_LIMIT ? `${text.slice(0, QUOTED_LIMIT)}…` : text;
  return `"${printable(shown)}"`;
}
