// CLAIM and KEY: which key a name belongs to, whether its owner is on or not. Whoever had the name first keeps it.
import { TalkError } from "../../base/errors.ts";
import { foldIfValid, validateName } from "../../base/names.ts";
import { verifyClaim } from "../../crypto/signed-statements.ts";
import type { NameLog } from "../../directory/shm/name-log.ts";
import { CommandError, parseClaim } from "../../wire/commands.ts";
import type { Connection } from "../connection.ts";
import type { Handler } from "../dispatch.ts";

export const claim: Handler = (service, connection, args, out) => {
  const request = parseClaim(args);
  const folded = checkName(request.name);
  if (!verifyClaim({ nonce: takeNonce(connection), ...request }, request.key, request.signature)) {
    throw new CommandError("BADSIG the signature does not fit the key, the nonce and the name");
  }
  const { bindings, writes } = service;
  if (bindings.isNoted(folded, request.key)) {
    out.simple("OK"); // what is bound stays bound: no need to look again under the lock
    return undefined;
  }
  const binding = writes.run(() => {
    bindings.refresh();
    checkOwner(bindings, folded, request.key);
    bind(bindings, folded, request.key);
  });
  return binding.then(() => connection.write((later) => later.simple("OK")));
};

export const key: Handler = (service, connection, [name], out) => {
  const { bindings, writes } = service;
  const folded = foldIfValid(name as string);
  const known = folded === null ? undefined : bindings.keyOf(folded);
  if (folded === null || known !== undefined || !bindings.isBehind) {
    if (known === undefined) out.null(connection.protocol);
    else out.bulk(known);
    return undefined;
  }
  const refreshed = writes.run(() => bindings.refresh());
  return refreshed.then(() =>
    connection.write((later) => {
      const found = bindings.keyOf(folded);
      if (found === undefined) later.null(connection.protocol);
      else later.bulk(found);
    }),
  );
};

/** @returns the folded name. @throws CommandError BADNAME */
export function checkName(name: string): string {
  try {
    return validateName(name);
  } catch (error) {
    throw asCommandError(error);
  }
}

/** What was to be signed on this connection: once, whatever comes of it. @throws CommandError NOAUTH */
export function takeNonce(connection: Connection): string {
  const { nonce } = connection;
  if (nonce === null) throw new CommandError("NOAUTH say HELLO first: its nonce is signed, once");
  connection.nonce = null;
  return nonce;
}

/** Caller holds the write lock and has refreshed the bindings under it. @throws CommandError TAKEN */
export function checkOwner(bindings: NameLog, folded: string, key: string): void {
  const owner = bindings.keyOf(folded);
  if (owner !== undefined && owner !== key) {
    throw new CommandError("TAKEN the name belongs to another key on this server");
  }
}

/** From now on the name is this key's, unless that has too many. Caller holds the write lock and has checked the owner. @throws CommandError FULL */
function bind(bindings: NameLog, folded: string, key: string): void {
  bindings.checkRoom(folded, key);
  bindings.note(folded, key);
}

const CODE_WORDS: Readonly<Record<string, string>> = { "bad-name": "BADNAME", "name-taken": "TAKEN", full: "FULL" };

export function asCommandError(error: unknown): unknown {
  if (!(error instanceof TalkError)) return error;
  const word = CODE_WORDS[error.code] ?? (error.code === "bad-data" ? "ERR" : null);
  return word === null ? error : new CommandError(`${word} ${error.message}`);
}
