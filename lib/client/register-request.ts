// What a client says to be put into the directory, and what the server's refusals mean to it. Pure but for the host's name.
import { hostname } from "node:os";
import { TalkError } from "../base/errors.ts";
import type { Identity } from "../crypto/identity.ts";
import { claimBytes, registrationBytes } from "../crypto/signed-statements.ts";
import { ReplyError } from "../wire/resp-reply.ts";

const MAX_HOST_BYTES = 64;

export interface RegistrationRequest {
  readonly name: string;
  readonly identity: Identity;
  /** From this connection's HELLO. */
  readonly nonce: string;
  /** UDP port of the chat socket. */
  readonly port: number;
  /** Take the name from an older connection of the same key: what a client says that comes back. */
  readonly takeOver: boolean;
}

/** The command and its arguments. Without ADDR: the server sees from where we come, and others reach us there. */
export function registrationRequest({
  name,
  identity,
  nonce,
  port,
  takeOver,
}: RegistrationRequest): (string | number)[] {
  const host =
    hostname()
      .replace(/[^!-~]/g, "")
      .slice(0, MAX_HOST_BYTES) || "localhost";
  const signature = identity.sign(registrationBytes({ nonce, name, port, addresses: [], host })).toString("base64");
  const key = identity.publicKey.toString("base64");
  const proof = ["KEY", key, "PORT", port, "HOST", host, "SIG", signature];
  return ["REGISTER", name, ...proof, "PROBE", ...(takeOver ? ["TAKEOVER"] : [])];
}

/** The command that proves the name to be ours without putting us into the directory. */
export function claimRequest({ name, identity, nonce }: Omit<RegistrationRequest, "port" | "takeOver">): string[] {
  const signature = identity.sign(claimBytes({ nonce, name })).toString("base64");
  return ["CLAIM", name, "KEY", identity.publicKey.toString("base64"), "SIG", signature];
}

/** A refusal in the words of this program; anything else as it is. */
export function registrationError(error: unknown, name: string): unknown {
  if (!(error instanceof ReplyError)) return error;
  switch (error.code) {
    case "TAKEN":
      return TalkError.nameTaken(name);
    case "FULL":
      return new TalkError("full", `the server refuses: ${error.message}`, { cause: error });
    case "BADNAME":
      return TalkError.badName(name, error.message);
    case "BADSIG":
    case "NOAUTH":
      return TalkError.refused(`the server refuses the name: ${error.message}`, error);
    default:
      return TalkError.protocol(error.message, error);
  }
}

/** A server that is gone, full or restarting may be there again; a name that another key holds will not come back. */
export function isPassing(error: unknown): boolean {
  return error instanceof TalkError && ["unreachable", "full", "protocol"].includes(error.code);
}
