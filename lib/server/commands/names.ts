// CLAIM, KEY and OWNER: which key a name belongs to, registered at the moment or not. The first key that had the name keeps it.
import { foldName } from "../../base/names.ts";
import { claimBytes } from "../../crypto/signed-statements.ts";
import type { NameOwner } from "../../directory/entry.ts";
import { CommandError, parseClaim } from "../../wire/commands.ts";
import type { Protocol, ReplyWriter } from "../../wire/resp-writer.ts";
import type { Connection } from "../connection.ts";
import type { Handler } from "../handler.ts";
import { checkSigned } from "../signed-request.ts";
import type { WorkerContext } from "../worker-context.ts";

export const claim: Handler = (context, connection, args) => {
  const { name, key, signature } = parseClaim(args);
  const { uid } = checkSigned(context, connection, {
    ...{ key, signature },
    bytes: (statement) => claimBytes({ ...statement, name }),
    what: "the key, the connection and the name",
  });
  connection.prove(key);
  return bind(context, connection, { name, key, uid });
};

async function bind(
  context: WorkerContext,
  connection: Connection,
  { name, key, uid }: { readonly name: string; readonly key: string; readonly uid: number | null },
): Promise<void> {
  const right = await context.rightTo(name, uid);
  await context.directory.bind(name, key, right);
  connection.hasClaimed = true;
  connection.provenName = foldName(name);
  connection.write((out) => out.simple("OK"));
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

/** Whose a name is, with what the kernel has said of the key's holder. */
export const owner: Handler = async (context, connection, [name, option]) => {
  if (option !== undefined && option.toUpperCase() !== "ADMIN") throw CommandError.syntax("OWNER name [ADMIN]");
  const found = await ownerOf(context, name as string);
  // Asked for alone: the user database is looked into.
  const isAdmin = option !== undefined && found?.attested === "kernel" && found.uid !== null;
  const admin = isAdmin ? await context.isAdmin(found.uid as number) : false;
  connection.write((out) => {
    if (found === null) return out.null(connection.protocol);
    const { key, user, uid, attested, isUnattestedLogin } = found;
    out.map(4 + (isUnattestedLogin ? 1 : 0) + (admin ? 1 : 0), connection.protocol);
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
  });
};

/** The client that is registered under the name, if the name is its key's; else the holder of the name. */
async function ownerOf(context: WorkerContext, name: string): Promise<NameOwner | null> {
  const { directory } = context;
  const [binding, row] = [await directory.bindingOf(name), await directory.find(name)];
  if (row !== null && (binding === null || binding.key === row.entry.key)) return row.entry;
  if (binding === null) return null;
  const { key, uid, login } = binding;
  if (uid === null) return { key, user: null, uid: null, attested: null, isUnattestedLogin: false };
  return { key, user: login ?? (await context.loginOf(uid)), uid, attested: "kernel", isUnattestedLogin: false };
}
