// CLAIM and KEY: which key a name belongs to, registered at the moment or not. The first key that had the name keeps it.
import { claimBytes } from "../../crypto/signed-statements.ts";
import { parseClaim } from "../../wire/commands.ts";
import type { Protocol, ReplyWriter } from "../../wire/resp-writer.ts";
import type { Handler } from "../handler.ts";
import { checkSigned } from "../signed-request.ts";

export const claim: Handler = (context, connection, args, out) => {
  const { name, key, signature } = parseClaim(args);
  checkSigned(context, connection, {
    ...{ key, signature },
    bytes: (statement) => claimBytes({ ...statement, name }),
    what: "the key, the connection and the name",
  });
  const binding = context.directory.bind(name, key);
  if (binding instanceof Promise) return binding.then(() => connection.write((later) => later.simple("OK")));
  out.simple("OK");
  return undefined;
};

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
