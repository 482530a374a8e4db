// One connection to one member of etcd, over gRPC. Every call has its own deadline, and ends as an answer or as a CallError that says whether
// the request can have had an effect.
import { createRequire } from "node:module";
import { isIP } from "node:net";
import { checkServerIdentity, type PeerCertificate } from "node:tls";
import type { ChannelCredentials, Client, ClientDuplexStream, Metadata, ServiceError } from "@grpc/grpc-js";
import type { EtcdTls } from "./address.ts";
import type { Method } from "./messages.ts";

// Not by import: it takes 70 ms to load, and only servers of a shared directory need it.
const require = createRequire(import.meta.url);

/** etcd sends GOAWAY to clients that ping more often than every 5 s, or without a call under way. */
const PING_MS = 6_000;
/** Without an answer to a ping for so long the connection is dead. */
const PING_TIMEOUT_MS = 3_000;
/** etcd's own limit is 1.5 MB a request; a page or a part of a watch's revision is of a few. */
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

/** Of gRPC, as etcd uses them. */
export const STATUS_CODE = {
  cancelled: 1,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  outOfRange: 11,
  unavailable: 14,
  unauthenticated: 16,
} as const;

export class CallError extends Error {
  override readonly name = "CallError";
  readonly code: number;
  /** The member that the call went to. */
  readonly member: string;
  /** The request cannot have left this process. */
  readonly isUnsent: boolean;

  constructor(
    member: string,
    code: number,
    message: string,
    { isUnsent = false, ...options }: ErrorOptions & { isUnsent?: boolean } = {},
  ) {
    super(message, options);
    this.member = member;
    this.code = code;
    this.isUnsent = isUnsent;
  }
}

export class Channel {
  readonly member: string;
  readonly #client: Client;
  readonly #grpc: typeof import("@grpc/grpc-js");
  #closed = false;

  /** Begins to connect with the first call, or with ready(). */
  constructor(member: string, tls: EtcdTls | null) {
    this.member = member;
    this.#grpc = require("@grpc/grpc-js") as typeof import("@grpc/grpc-js");
    const host = hostOf(member);
    this.#client = new this.#grpc.Client(targetOf(member), this.#credentials(tls, host), {
      // TLS knows no server names that are addresses (RFC 6066, section 3), and Node warns of them: etcd takes any name.
      ...(isIP(host) === 0 ? {} : { "grpc.ssl_target_name_override": "etcd" }),
      // A connection of its own: grpc-js would share one, also one that is stuck.
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_retries": 0, // a repeated transaction is another one
      "grpc.enable_http_proxy": 0,
      "grpc.service_config_disable_resolution": 1,
      "grpc.keepalive_time_ms": PING_MS,
      "grpc.keepalive_timeout_ms": PING_TIMEOUT_MS,
      "grpc.keepalive_permit_without_calls": 0,
      "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
      "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    });
  }

  #credentials(tls: EtcdTls | null, host: string): ChannelCredentials {
    const { credentials } = this.#grpc;
    if (tls === null) return credentials.createInsecure();
    // By the member's own host, whichever name gRPC has told it.
    const checked = { checkServerIdentity: (_: string, shown: PeerCertificate) => checkServerIdentity(host, shown) };
    return credentials.createSsl(tls.ca, tls.key, tls.certificate, checked);
  }

  /** Waits until it is connected: gRPC's own connecting has no end at a member that is stopped. @throws CallError */
  ready(ms: number): Promise<void> {
    const { connectivityState } = this.#grpc;
    const channel = this.#client.getChannel();
    const until = Date.now() + ms;
    return new Promise((resolve, reject) => {
      const look = () => {
        if (this.#closed) return reject(this.#unsent("it is closed"));
        const state = channel.getConnectivityState(true);
        if (state === connectivityState.READY) return resolve();
        if (state === connectivityState.TRANSIENT_FAILURE) {
          this.#whyNot().then((reason) => reject(this.#unsent(reason)));
          return;
        }
        channel.watchConnectivityState(state, until, (error) => {
          if (error) reject(this.#unsent(`no connection within ${Math.round(ms)} ms`));
          else look();
        });
      };
      look();
    });
  }

  /** Only a call hears why there is no connection. */
  async #whyNot(): Promise<string> {
    const probe: Method<void, void> = {
      path: "/etcdserverpb.Maintenance/Status",
      encode: () => Buffer.alloc(0),
      decode: () => {},
    };
    try {
      await this.call(probe, undefined, WHY_NOT_MS, null, { needsLeader: false });
    } catch (error) {
      if (error instanceof CallError) return plainReason(error.message);
    }
    return "no connection";
  }

  /** @throws CallError */
  call<Request, Response>(
    { path, encode, decode }: Method<Request, Response>,
    request: Request,
    ms: number,
    token: string | null = null,
    { needsLeader = true }: { needsLeader?: boolean } = {},
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      const options = { deadline: Date.now() + ms };
      const answered = (error: ServiceError | null, response?: Response) => {
        if (error !== null) reject(this.#failed(error));
        else resolve(response as Response);
      };
      this.#client.makeUnaryRequest(
        path,
        encode,
        decode,
        request,
        this.#metadata(token, needsLeader),
        options,
        answered,
      );
    });
  }

  /** One request and its answer on a stream of their own, which is closed then. @throws CallError */
  callOnStream<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    ms: number,
    token: string | null,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      const stream = this.open(method, token, Date.now() + ms);
      stream.on("data", (response: Response) => {
        resolve(response);
        stream.cancel();
      });
      stream.on("error", (error: ServiceError) => reject(this.#failed(error)));
      stream.on("end", () => reject(new CallError(this.member, STATUS_CODE.unavailable, "the stream has ended")));
      stream.write(request);
    });
  }

  /** @param deadline ms since the epoch */
  open<Request, Response>(
    { path, encode, decode }: Method<Request, Response>,
    token: string | null,
    deadline = Number.POSITIVE_INFINITY,
  ): ClientDuplexStream<Request, Response> {
    return this.#client.makeBidiStreamRequest(path, encode, decode, this.#metadata(token), { deadline });
  }

  /** Calls under way end by themselves. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#client.close();
  }

  #metadata(token: string | null, needsLeader = true): Metadata {
    const metadata = new this.#grpc.Metadata();
    // A member without a leader says so, instead of letting calls and watches hang.
    if (needsLeader) metadata.set("hasleader", "true");
    if (token !== null) metadata.set("token", token);
    return metadata;
  }

  #failed(error: ServiceError): CallError {
    const isUnsent = error.code === STATUS_CODE.unavailable && UNSENT.test(error.details);
    return new CallError(this.member, error.code, error.details, { cause: error, isUnsent });
  }

  #unsent(reason: string): CallError {
    return new CallError(this.member, STATUS_CODE.unavailable, reason, { isUnsent: true });
  }
}

const WHY_NOT_MS = 500;
/** How grpc-js says that a call never got a connection. */
const UNSENT =
  /^(?:No connection established|Name resolution failed|Channel has been shut down|The channel has been closed)/;

/** Only what failed, without grpc-js's words around it. */
function plainReason(details: string): string {
  const reason = /Last error: (?:Error: )?(.*?)(?:\. Resolution note:.*)?$/s.exec(details)?.[1] ?? details;
  if (reason === "null" || reason === "") return "no connection";
  return CERTIFICATE_ALERT.test(reason) ? "it asks for a client certificate of an authority that it knows" : reason;
}

/** OpenSSL's words for the alerts by which a server refuses a client's certificate (RFC 8446, section 6.2). */
const CERTIFICATE_ALERT = /alert certificate required|alert bad certificate|alert unknown ca/;

/** Without brackets and port. */
function hostOf(member: string): string {
  return member.slice(0, member.lastIndexOf(":")).replace(/^\[|\]$/g, "");
}

/** An address goes as it is; a name is asked of the resolver, anew for each channel. */
function targetOf(member: string): string {
  const family = isIP(hostOf(member));
  return `${family === 0 ? "dns" : `ipv${family}`}:${member}`;
}
