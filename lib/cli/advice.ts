// What to do about an error, in the words of the command line.
import { TalkError } from "../base/errors.ts";
import { isLoopback, parseServerAddress } from "../base/server-address.ts";
import type { FailedEvent } from "../client/types.ts";

/** A sentence without its full stop that follows the error's own; empty when there is nothing to say. */
export function adviceFor(error: unknown): string {
  if (!(error instanceof TalkError)) return "";
  const { remedy, subject } = error;
  switch (remedy) {
    case null:
      return "";
    case "forget-key":
      return `If the change is expected, forget the old key with: ptalk key forget ${subject}`;
    case "forget-certificate":
      return `If the change is expected, forget the old one with: ptalk key forget ${subject}`;
    case "check-authority":
      return "Ask who runs the server; without --ca (PTALK_CA, ca in config.toml) its certificate is remembered as it is";
    case "start-server":
      return "Start one with: ptalk serve";
    case "smaller-capacity":
      return "Give a smaller --capacity, or make room (see df /dev/shm)";
    case "secure-listener":
      return "Add --tls (a certificate is made once and kept), or --tls-cert and --tls-key, or --insecure if you trust the network";
    case "both-tls-files":
      return "Give both --tls-cert and --tls-key";
    case "other-state-dir":
      return "Give another one with --state-dir";
    case "other-port":
      return "Use that server, or serve on another port with --listen";
    case "other-metrics-port":
      return "Give another port with --metrics";
    case "local-metrics":
      return "Give an address of this machine alone (--metrics 127.0.0.1:9518), or --insecure if you trust the network";
    case "other-chat-port":
      return "Take another one from 1024 up (--port, PTALK_PORT), or none: then the system picks it";
    case "own-session":
      return "End that program, or give another name with --as NAME";
    case "reserved-name":
      return "Give another name with --as NAME, or PTALK_NAME";
    case "start-service":
      return `Have the administrator start it (systemctl start ptalk.socket), or remove ${subject} if this host is to have no service`;
    case "lasting-server":
      return "Bind it at the server that others reach (--server HOST:PORT), which ptalk serve or the host's service is";
    case "foreign-port":
      return "Use another port (ptalk serve --listen 127.0.0.1:5519, and --server 127.0.0.1:5519 or PTALK_SERVER for everybody), or have that program ended";
    case "plain-server":
      return "If the network is trusted: --insecure; else have it started with --tls";
    case "tls-server":
      return isLoopback(parseServerAddress(subject ?? "").host)
        ? "Over a tunnel, lead it to the server's own 127.0.0.1 (ssh -L 5518:127.0.0.1:5518 HOST)"
        : "Leave --insecure out (also PTALK_INSECURE and insecure in config.toml)";
    case "doctor-peer":
      return `To find out why: ptalk doctor ${subject}`;
    case "more-descriptors":
      return "Raise the limit: ulimit -n 1024, or LimitNOFILE= in the service's unit";
  }
}

/** The message of a failure with the advice behind it. */
export function failureText({ code, message, remedy, to }: FailedEvent): string {
  return withAdvice(new TalkError(code, message, remedy === null ? {} : { remedy, subject: to }));
}

/** The error's message with the advice behind it. */
export function withAdvice(error: Error): string {
  const advice = adviceFor(error);
  return advice === "" ? error.message : `${error.message}. ${advice}`;
}
