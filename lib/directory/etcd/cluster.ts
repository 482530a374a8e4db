// The members of an etcd cluster, as one who answers. How a call goes:
//
//   1. It goes to the member in use; if there is none, to the first that can be connected to, each within CONNECT_MS.
//   2. A member that refuses for its own sake (no leader, stopping), or that cannot be reached, is left for the next one.
//   3. Where the outcome is unknown, only what may be repeated is repeated. The member is left in any case.
//   4. An expired token is renewed once, and the call repeated: it had no effect.
//
// Every attempt at a member that was left is on a new channel: nothing waits for gRPC to find out that an old one is dead.
import { withTimeout } from "../../base/async.ts";
import type { EtcdAccess } from "./address.ts";
import { CallError, Channel, STATUS_CODE } from "./channel.ts";
import { EngineError } from "./engine.ts";
import { AUTHENTICATE, type Credentials, type Method } from "./messages.ts";

/** On a network of one site a connection takes milliseconds, with TLS a few more. A stopped member takes for ever. */
const CONNECT_MS = 1_000;
/** A repeatable call waits at least so long for one member before it asks the next. */
const MIN_ATTEMPT_MS = 500;
/** etcd hashes a password for 100 ms; its answer to a wrong one changes only when an operator acts. */
const PASSWORD_REST_MS = 10_000;
/** Several calls may wait for one token, each within its own time. Of many servers that come back at once, the last waits for seconds. */
const AUTHENTICATE_MS = 10_000;
/** Members with other troubles than one's own are tried twice: a leader may be elected in between. */
const ROUNDS = 2;

export interface CallOptions {
  /** From now, in all. */
  readonly ms: number;
  /** To do it twice is as good as once. */
  readonly isRepeatable: boolean;
  /** The method has streams both ways; one request and one answer are used. */
  readonly isStream?: boolean;
}

/** What the operator has to know once, not at every call. */
export type Report = (message: string) => void;

export class Cluster {
  readonly #access: EtcdAccess;
  readonly #report: Report;
  /** Tells that a member does not answer. */
  readonly #onLeft: (member: string) => void;
  #index = 0;
  #channel: Promise<Channel> | null = null;
  #open: Channel | null = null;
  #token: Promise<string> | null = null;
  /** What #token came to. */
  #newestToken: string | null = null;
  #wrongPassword: { readonly error: EngineError; readonly at: number } | null = null;
  #closed = false;

  constructor(access: EtcdAccess, report: Report, onLeft: (member: string) => void) {
    this.#access = access;
    this.#report = report;
    this.#onLeft = onLeft;
  }

  /** @throws EngineError */
  async call<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    options: CallOptions,
  ): Promise<Response> {
    const { ms, isRepeatable } = options;
    const until = performance.now() + ms;
    const left = () => until - performance.now();
    const { length } = this.#access.members;
    const failures: CallError[] = [];
    let hasRenewed = false;
    while (failures.length < ROUNDS * length && left() > 0) {
      const channel = await this.#connected(until);
      const token = await this.#tokenBy(channel, left());
      const others = Math.max(1, length - failures.length);
      const attempt = isRepeatable ? Math.min(left(), Math.max(left() / others, MIN_ATTEMPT_MS)) : left();
      try {
        const way = options.isStream ? "callOnStream" : "call";
        return await channel[way](method, request, Math.max(1, attempt), token);
      } catch (error) {
        if (!(error instanceof CallError)) throw error;
        if (this.#closed) throw new EngineError("unknown", "the engine is closed", { cause: error });
        if (!hasRenewed && this.renewable(error, token)) {
          hasRenewed = true;
          continue;
        }
        const verdict = judge(error, method);
        if (verdict === "final") throw refusal(error);
        this.leave(channel);
        if (verdict === "unknown" && !isRepeatable) throw unknown(error);
        failures.push(error);
      }
    }
    const last = failures.at(-1);
    if (last === undefined) throw new EngineError("refused", `no etcd member answers within ${ms} ms`);
    throw judge(last, method) === "unknown" ? unknown(last) : new EngineError("refused", said(last), { cause: last });
  }

  /** A channel of its own, beginning with the member in use. The caller closes it. @throws EngineError refused */
  async ownChannel(): Promise<{ readonly channel: Channel; readonly token: string | null }> {
    const until = performance.now() + CONNECT_MS * this.#access.members.length;
    const channel = await this.#connect(until);
    try {
      return { channel, token: await this.#tokenBy(channel, CONNECT_MS) };
    } catch (error) {
      channel.close();
      throw error;
    }
  }

  /** Whether another token may help; the next call gets a new one then. */
  renewable(error: { readonly code: number; readonly message: string }, token: string | null): boolean {
    if (token === null || !isOldToken(error)) return false;
    if (token === this.#newestToken) this.#token = null; // else another call has renewed it already
    return true;
  }

  /** The member does not answer: the next call goes to the next one. */
  leave(channel: Channel): void {
    if (this.#open !== channel) return;
    this.#open = null;
    this.#channel = null;
    this.#index++;
    channel.close();
    this.#onLeft(channel.member);
  }

  /** As leave(), for a channel of somebody's own. */
  suspect(member: string): void {
    const { members } = this.#access;
    if (members[this.#index % members.length] !== member) return;
    if (this.#open !== null) this.leave(this.#open);
    else this.#index++;
  }

  close(): void {
    this.#closed = true;
    this.#open?.close();
    this.#open = null;
    this.#channel = null;
  }

  /** Calls share one attempt, and each waits for it within its own time. */
  async #connected(until: number): Promise<Channel> {
    this.#channel ??= this.#connectForAll();
    const channel = await withTimeout(until - performance.now(), this.#channel, null);
    if (channel === null) throw new EngineError("refused", "no etcd member can be reached in time");
    return channel;
  }

  async #connectForAll(): Promise<Channel> {
    try {
      const channel = await this.#connect(performance.now() + CONNECT_MS * this.#access.members.length);
      this.#open = channel;
      return channel;
    } catch (error) {
      this.#channel = null;
      throw error;
    }
  }

  async #connect(until: number): Promise<Channel> {
    const { members, tls } = this.#access;
    const reasons: string[] = [];
    for (let tried = 0; tried < members.length; tried++) {
      const left = until - performance.now();
      if (this.#closed) throw new EngineError("refused", "the engine is closed");
      if (left <= 0) break;
      const member = members[this.#index % members.length] as string;
      const channel = new Channel(member, tls);
      try {
        await channel.ready(Math.min(left, CONNECT_MS));
        if (!this.#closed) return channel;
      } catch (error) {
        if (!(error instanceof CallError)) throw error;
        reasons.push(`${member}: ${error.message}`);
      }
      channel.close();
      this.#index++;
    }
    throw new EngineError("refused", `no etcd member can be reached (${reasons.join("; ") || "no time left"})`);
  }

  /** Null without a user. @throws EngineError */
  async #tokenBy(channel: Channel, ms: number): Promise<string | null> {
    const { credentials } = this.#access;
    if (credentials === null) return null;
    const wrong = this.#wrongPassword;
    if (wrong !== null && performance.now() - wrong.at < PASSWORD_REST_MS) throw wrong.error;
    this.#token ??= this.#authenticate(channel, credentials);
    const token = await withTimeout(ms, this.#token, null);
    if (token === null) throw new EngineError("refused", `etcd at ${channel.member} gives no token in time`);
    return token;
  }

  async #authenticate(channel: Channel, credentials: Credentials): Promise<string> {
    try {
      const token = await channel.call(AUTHENTICATE, credentials, AUTHENTICATE_MS);
      this.#newestToken = token;
      this.#wrongPassword = null;
      return token;
    } catch (error) {
      this.#token = null;
      if (!(error instanceof CallError)) throw error;
      if (judge(error, AUTHENTICATE) !== "final") {
        this.leave(channel);
        // The call that wants the token has not left yet.
        throw new EngineError("refused", said(error), { cause: error });
      }
      const refused = refusal(error);
      if (this.#wrongPassword === null) this.#report(refused.message);
      this.#wrongPassword = { error: refused, at: performance.now() };
      throw refused;
    }
  }
}

/**
 * `final`: etcd itself has refused, and every member would. `elsewhere`: nothing has happened; another member may do it. `unknown`: it may have
 * happened.
 */
export function judge(
  error: CallError,
  { path }: Pick<Method<never, unknown>, "path">,
): "final" | "elsewhere" | "unknown" {
  const { code, message, isUnsent } = error;
  if (isUnsent) return "elsewhere";
  const isOfEtcd = message.startsWith("etcdserver: ") || message.startsWith("auth: ");
  switch (code) {
    case STATUS_CODE.unavailable:
      // Said before anything is proposed. "leader changed", "request timed out", "server stopped" come after it, too.
      return message === "etcdserver: no leader" ? "elsewhere" : "unknown";
    case STATUS_CODE.resourceExhausted:
      // Of grpc-js when an answer is too long: then it has happened. Of etcd before it writes, and on applying.
      return isOfEtcd ? (message.includes("too many requests") ? "elsewhere" : "final") : "unknown";
    case STATUS_CODE.invalidArgument:
    case STATUS_CODE.notFound:
    case STATUS_CODE.permissionDenied:
    case STATUS_CODE.failedPrecondition:
    case STATUS_CODE.outOfRange:
    case STATUS_CODE.unauthenticated:
      return isOfEtcd || path === AUTHENTICATE.path ? "final" : "unknown";
    default:
      return "unknown";
  }
}

/** Expired, or from before a change of users. */
export function isOldToken({ code, message }: { readonly code: number; readonly message: string }): boolean {
  return code === STATUS_CODE.unauthenticated || /revision of auth store is old|invalid auth token/.test(message);
}

function unknown(error: CallError): EngineError {
  return new EngineError("unknown", said(error), { cause: error });
}

/** What etcd's refusals mean for the operator. */
const MEANINGS: readonly (readonly [RegExp, string])[] = [
  [/database space exceeded/, "its space is used up (alarm NOSPACE): compact, defragment, then disarm the alarm"],
  [/user name is empty/, "it asks for a user: set PTALK_DIRECTORY_USER and PTALK_DIRECTORY_PASSWORD"],
  [/authentication failed/, "wrong user or password"],
  [
    /authentication is not enabled/,
    "it knows no users, but a user is configured: enable authentication, or leave the user out",
  ],
  [/permission denied/, "its user may not do that: grant readwrite on the directory's prefix"],
];

/** Without the member, for people. */
export function plainText({ message }: CallError): string {
  const meaning = MEANINGS.find(([pattern]) => pattern.test(message))?.[1];
  return meaning ?? message.replace(/^etcdserver: /, "");
}

const said = (error: CallError): string => `etcd at ${error.member}: ${plainText(error)}`;

function refusal(error: CallError): EngineError {
  const code = error.code === STATUS_CODE.notFound && /lease not found/.test(error.message) ? "no-lease" : "refused";
  return new EngineError(code, said(error), { cause: error, reason: plainText(error) });
}
