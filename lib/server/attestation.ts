// The user of a signed request, by the kernel's word on a Unix socket, or by a MUNGE credential that was made for this very request. A credential
// is never as good as the kernel: root of any host of the realm can make one for any user.
import { mungePayload } from "../crypto/signed-statements.ts";
import type { NameRight } from "../directory/name-right.ts";
import { decodeMunge, isCredential } from "../net/munge.ts";
import { CommandError } from "../wire/commands.ts";
import type { Entering } from "./name-rights.ts";
import { countedUid } from "./origin.ts";
import type { SignedRequest } from "./signed-request.ts";
import type { WorkerContext } from "./worker-context.ts";

/** Credentials that one worker has read at once: each takes a process. */
const MAX_READING = 4;

/**
 * The caller's right to the name.
 * @param credential null: none was sent
 * @param entering the client that the request adds; null: it adds none
 * @throws DirectoryError `too-many`; CommandError BADSIG for a credential that was made for something else, TRYAGAIN while too many are read
 */
export async function rightOfSpeaker(
  context: WorkerContext,
  name: string,
  { uid, signed }: SignedRequest,
  credential: string | null,
  entering: Entering | null = null,
): Promise<NameRight> {
  const vouched = uid === null && credential !== null ? await uidOf(context, signed, credential) : null;
  const right = await context.rightTo(name, uid ?? vouched, entering);
  return vouched === null ? right : { ...right, isMunge: true };
}

/** The answer to a request: whether the credential counts. */
export const okFor = ({ isMunge }: NameRight): string => (isMunge ? "OK munge" : "OK");

/** Null where nothing can be told: munged is away, or has never been here. */
async function uidOf(context: WorkerContext, signed: Buffer, credential: string): Promise<number | null> {
  if (!context.config.munge) return null;
  if (!isCredential(credential)) throw CommandError.syntax("MUNGE takes a credential, as munge(1) makes it");
  if (context.credentials >= MAX_READING) throw new CommandError("TRYAGAIN too many MUNGE credentials are being read");
  context.credentials++;
  const decoded = await decodeMunge(credential).finally(() => context.credentials--);
  // A host of another realm has munged as well: its users are let in like those of a host without.
  if (decoded === null || decoded === "bad") {
    const why = decoded === null ? "is munged running?" : "it is of another realm, expired, or was read before";
    context.log.warn("a MUNGE credential does not count", { why });
    return null;
  }
  const login = await context.loginOf(decoded.uid);
  if (login === null || decoded.payload !== mungePayload(signed, login)) {
    throw new CommandError("BADSIG the MUNGE credential is not for this request and a user of this host");
  }
  // Root of another host is not root of this one.
  return countedUid(decoded.uid, "abstract");
}
