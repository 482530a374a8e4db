// CLAIM, KEY and OWNER: which key a name belongs to, registered at the moment or not. The first key that had the name keeps it.
import { foldName } from "../../base/names.ts";
import { predecessorsOf } from "../../crypto/rotation.ts";
import { claimBytes, claimIdOf, decodeBase64, KEY_BYTES } from "../../crypto/signed-statements.ts";
import type { NameOwner } from "../../directory/entry.ts";
import { type ClaimArguments, CommandError, parseClaim } from "../../wire/commands.ts";
import type { Protocol, ReplyWriter } from "../../wire/resp-writer.ts";
import { okFor, rightOfSpeaker } from "../attestation.ts";
import type { Connection } from "../connection.ts";
import type { Handler } from "../handler.ts";
import { checkSigned, followedBy, type SignedRequest } from "../signed-request.ts";
import type { WorkerContext } from "../worker-context.ts";

export const claim: Handler = (context, connection, args) => {
  const { name, key, signature, also, munge } = parseClaim(args);
  if (also !== null && decodeBase64(also, KEY_BYTES) === null) throw CommandError.syntax("ALSO takes a key, in base64");
  const signed = checkSigned(context, connection, {
    ...{ key, signature },
    bytes: (statement) => claimBytes({ ...statement, name, also }),
    what: "the key, the connection and the request",
  });
  connection.prove(key);
  return bind(context, connection, { name, key, also, munge }, signed);
};

/** The key has replaced others: a REGISTER or CLAIM with it on this connection takes their names over. */
export const follows: Handler = (_context, connection, [key = "", chain = ""], out) => {
  const keys = predecessorsOf(key, chain);
  if (keys === null) throw new CommandError("BADSIG the chain does not lead to the key");
  connection.follows = { key, keys, chain };
  out.simple("OK");
  return undefined;
};

async function bind(
  context: WorkerContext,
  connection: Connection,
  { name, key, also, munge }: Omit<ClaimArguments, "signature">,
  signed: SignedRequest,
): Promise<void> {
  const right = await rightOfSpeaker(context, name, signed, munge);
  const follows = followedBy(connection, key);
  await context.directory.bind(name, key, { ...right, follows, also: also ?? undefined });
  connection.claimed = { name, claimId: claimIdOf(signed.serverNonce) };
  connection.provenName = foldName(name);
  connection.write((out) => out.simple(okFor(right)));
}

export const key: Handler = (context, connection, [name], out) => {
  const { protocol } = connection;
  const owner = context.directory.ownerOf(name as string);
  if (owner instanceof Promise)
    return owner.then((known) => connection.write((later) => writeKey(later, known, protocol)));
  writeKey(out, owner, protocol);
  return undefined;
};

function writeKey(out: ReplyWriter, owner: string | null, protocol: Protocol): void {
  if (owner === null) out.null(protocol);
  else out.bulk(owner);
}

/** The owner of a name, with what the kernel has said of the key's holder. */
export const owner: Handler = async (context, connection, [name, option]) => {
  if (option !== undefined && option.toUpperCase() !== "ADMIN") throw CommandError.syntax("OWNER name [ADMIN]");
  const found = await ownerOf(context, name as string);
  // Asked for alone: the user database is looked into.
  const isAdmin = option !== undefined && found?.attested === "kernel" && found.uid !== null;
  const admin = isAdmin ? await context.isAdmin(found.uid as number) : false;
  connection.write((out) => {
    if (found === null) return out.null(connection.protocol);
    const { key, user, uid, attested, isUnattestedLogin, also = [], chain = "" } = found;
    const extra = [isUnattestedLogin, admin, also.length > 0, chain !== ""].filter(Boolean).length;
    out.map(4 + extra, connection.protocol);
    out.bulk("key");
    out.bulk(key);
    out.bulk("user");
    if (user === null) out.null(connection.protocol);
    else out.bulk(user);
    out.bulk("uid");
    if (uid === null) out.null(connection.protocol);
    else out.integer(uid);
    out.bulk("attested");
    if (attested === null) out.null(connection.protocol);
    else out.bulk(attested);
    if (isUnattestedLogin) {
      out.bulk("login");
      out.integer(1);
    }
    if (admin) {
      out.bulk("admin");
      out.integer(1);
    }
    if (also.length > 0) {
      out.bulk("also");
      out.array(also.length);
      for (const key of also) out.bulk(key);
    }
    if (chain === "") return;
    out.bulk("chain");
    out.bulk(chain);
  });
};

/** The client that is registered under the name, if the name is its key's; else the holder of the name. */
async function ownerOf(context: WorkerContext, name: string): Promise<NameOwner | null> {
  const { directory } = context;
  const [binding, row] = [await directory.bindingOf(name), await directory.find(name)];
  if (binding === null) return row === null ? null : row.entry;
  const { key, uid, isMunge, login, also, chain } = binding;
  if (row?.entry.key === key) {
    const { user, uid, attested, isUnattestedLogin } = row.entry;
    return { key, user, uid, attested, isUnattestedLogin, also, chain };
  }
  const nobody = { key, user: null, uid: null, attested: null, isUnattestedLogin: false, also, chain };
  if (uid === null) return nobody;
  return { ...nobody, user: login ?? (await context.loginOf(uid)), uid, attested: isMunge ? "munge" : "kernel" };
}
