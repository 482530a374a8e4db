// A look at the server's directory without being in it: `ptalk all`, `ptalk lookup`.

import { defaultStateDir } from "../base/files.ts";
import { parseServerAddress } from "../base/server-address.ts";
import { fingerprint } from "../crypto/fingerprint.ts";
import { KnownServers } from "../store/known-peers.ts";
import { allEntries, lookupEntry } from "./directory-queries.ts";
import { ServerConnection } from "./server-connection.ts";
import type { OpenDirectory } from "./types.ts";

/** @throws TalkError unreachable, refused (certificate), protocol; AbortError */
export const openDirectory: OpenDirectory = async ({ server, stateDir = defaultStateDir(), ...options }) => {
  const connection = await ServerConnection.open({
    ...options,
    address: parseServerAddress(server),
    checkCertificate: (certificate) => new KnownServers(stateDir).remember(server, fingerprint(certificate)),
  });
  try {
    await connection.hello();
  } catch (error) {
    connection.close();
    throw error;
  }
  const close = async (): Promise<void> => connection.close();
  return {
    lookup: (name) => lookupEntry(connection, name),
    all: () => allEntries(connection),
    close,
    [Symbol.asyncDispose]: close,
  };
};
