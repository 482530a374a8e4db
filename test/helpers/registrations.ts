// A row in the directory of a real server, as a client of any version would make it, and nothing behind it.
import { parseServerAddress } from "../../lib/base/server-address.ts";
import { ServerConnection } from "../../lib/client/server-connection.ts";
import type { Identity } from "../../lib/crypto/identity.ts";
import { registrationBytes } from "../../lib/crypto/signed-statements.ts";
import { PEER_PROTOCOL } from "../../lib/directory/entry.ts";

export interface Row {
  readonly server: string;
  readonly name: string;
  readonly identity: Identity;
  readonly port: number;
  readonly protocol?: number;
  /** Take the name from another program of the same key, as a person may tell a program to. */
  readonly replace?: boolean;
}

/** The row is there for as long as the connection is. */
export async function registeredRow(row: Row): Promise<ServerConnection & Disposable> {
  const { server, name, identity, port, protocol = PEER_PROTOCOL, replace = false } = row;
  const { connection, greeting } = await ServerConnection.greeted({ address: parseServerAddress(server) });
  const options = replace ? ["REPLACE"] : [];
  const fields = { name, port, endpoints: [], host: "", protocol, options };
  const signature = identity.sign(registrationBytes({ ...greeting.statement, ...fields })).toString("base64");
  const key = identity.publicKey.toString("base64");
  await connection.command(
    ...["REGISTER", name, "KEY", key, "PROTOCOL", protocol, "PORT", port, "SIG", signature, ...options],
  );
  return Object.assign(connection, { [Symbol.dispose]: () => connection.close() });
}
