// What a client says to be put into the directory, and what the server's refusals mean to it. Pure but for the host's name.
import { hostname } from "node:os";
import type { ClientEndpoint } from "../base/endpoint.ts";
import { TalkError } from "../base/errors.ts";
import type { Identity } from "../crypto/identity.ts";
import { type ConnectionStatement, claimBytes, registrationBytes } from "../crypto/signed-statements.ts";
import { MAX_HOST_BYTES, PEER_PROTOCOL } from "../directory/entry.ts";
import { ReplyError } from "../wire/resp-reply.ts";

export interface RegistrationRequest {
  readonly name: string;
  readonly identity: Identity;
  /** From this connection's HELLO. */
  readonly statement: ConnectionStatement;
  /** UDP port of the chat socket. */
  readonly port: number;
  /** Where others reach it; empty: where the server sees us. */
  readonly endpoints: readonly ClientEndpoint[];
  /** Claim id of the registration that a client comes back to; null for a first one. */
  readonly takeover: string | null;
  /** Take the name over from any other client of the same key. */
  readonly replace: boolean;
  /** Shown in lists. */
  readonly listed: boolean;
}

export interface SignedCommand {
  /** The command and its arguments. */
  readonly words: readonly (string | number)[];
  /** The bytes that were signed. */
  readonly signed: Buffer;
}

export function registrationRequest(request: RegistrationRequest): SignedCommand {
  const { name, identity, statement, port, endpoints, takeover, replace, listed } = request;
  const host =
    hostname()
      .replace(/[^!-~]/g, "")
      .slice(0, MAX_HOST_BYTES) || "localhost";
  const flags = ["PROBE", ...(replace ? ["REPLACE"] : []), ...(listed ? [] : ["UNLISTED"])];
  const options = [...flags, ...(takeover === null ? [] : [`TAKEOVER ${takeover}`])].sort();
  const fields = { name, port, endpoints, host, protocol: PEER_PROTOCOL, options };
  const signed = registrationBytes({ ...statement, ...fields });
  const signature = identity.sign(signed).toString("base64");
  const key = identity.publicKey.toString("base64");
  const proof = ["KEY", key, "PROTOCOL", PEER_PROTOCOL, "PORT", port, "HOST", host, "SIG", signature];
  const places = endpoints.flatMap(({ kind, address, port }) => ["ENDPOINT", kind, address, port]);
  const continued = takeover === null ? [] : ["TAKEOVER", takeover];
  return { words: ["REGISTER", name, ...proof, ...places, ...flags, ...continued], signed };
}

/** The command that proves the name to be ours without putting us into the directory. */
export function claimRequest({
  name,
  identity,
  statement,
  also,
}: Pick<RegistrationRequest, "name" | "identity" | "statement"> & { readonly also: string | null }): SignedCommand {
  const signed = claimBytes({ ...statement, name, also });
  const signature = identity.sign(signed).toString("base64");
  const words = ["CLAIM", name, "KEY", identity.publicKey.toString("base64"), "SIG", signature];
  return { words: also === null ? words : [...words, "ALSO", also], signed };
}

/** A refusal in the words of this program; anything else as it is. */
export function registrationError(error: unknown, name: string, ownFingerprint: string): unknown {
  if (!(error instanceof ReplyError)) return error;
  switch (error.code) {
    case "TAKEN":
      return TalkError.nameTaken(name, error.message, error.message.includes(`key ${ownFingerprint}`));
    case "RESERVED":
      return TalkError.nameReserved(name, error.message);
    case "TOOMANY":
      return new TalkError("too-many", `the server refuses: ${error.message}`, { cause: error });
    case "FULL":
      return new TalkError("full", `the server refuses: ${error.message}`, { cause: error });
    case "BADNAME":
      return TalkError.badName(name, error.message);
    case "TRYAGAIN":
      return cannotTell(error);
    case "BANNED":
    case "NOPERM":
      return TalkError.refused(`the server refuses: ${error.message}`, error);
    case "BADSIG":
    case "NOAUTH":
      return TalkError.refused(`the server refuses the name: ${error.message}`, error);
    default:
      return TalkError.protocol(error.message, error);
  }
}

/** What the server says while it, or what stands behind it, knows no answer. */
export function cannotTell(error: ReplyError): TalkError {
  return new TalkError("try-again", `the server cannot tell yet: ${error.message}`, { cause: error });
}

/** Whether the directory may have carried the request out all the same. */
export function isUnknown(error: unknown): boolean {
  return error instanceof TalkError && (error.code === "unreachable" || error.code === "try-again");
}

/** A server that is gone, full or restarting may be there again; a name that another key holds will not come back. */
export function isPassing(error: unknown): boolean {
  return error instanceof TalkError && ["unreachable", "full", "protocol", "try-again"].includes(error.code);
}
