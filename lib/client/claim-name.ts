// Binds a name to a key at the server, without being on.
import { TalkError } from "../base/errors.ts";
import { parseServerList } from "../base/server-address.ts";
import { loadOrCreateIdentity } from "../crypto/identity.ts";
import { isHostId } from "../directory/directory-id.ts";
import type { MetServer, PinScope } from "../store/known-directories.ts";
import { chainTo } from "../store/own-keys.ts";
import { keyFile } from "../store/state-paths.ts";
import { listedServers } from "./server-list.ts";
import { ServerSession } from "./server-session.ts";
import type { Standing } from "./types.ts";

export interface ClaimNameOptions {
  readonly name: string;
  readonly server: string;
  readonly stateDir: string;
  readonly insecure: boolean;
  readonly ca?: string | undefined;
  /** A further key (base64) that is to have the name, a login name of the server's host; null: none. */
  readonly also: string | null;
  readonly signal: AbortSignal;
}

/**
 * @returns how this client and the server stand to each other
 * @throws TalkError name-taken, name-reserved, too-many, unreachable, refused, protocol; not-understood: this server keeps nothing; the
 * signal's reason
 */
export async function claimName({ also, server, stateDir, ...options }: ClaimNameOptions): Promise<Standing> {
  const identity = loadOrCreateIdentity(keyFile(stateDir));
  let keepsNothing = false;
  const servers = listedServers(stateDir, parseServerList(server)).map(({ identify, ...listed }) => ({
    ...listed,
    identify: (met: MetServer): PinScope => {
      keepsNothing = isHostId(met.directory);
      return identify(met);
    },
  }));
  const session = await ServerSession.open({
    ...{ ...options, servers, identity, chain: chainTo(stateDir, identity) },
  });
  try {
    if (keepsNothing) {
      const reason = `the server at ${session.server} keeps nothing beyond its life, and no other host reaches it: there is nothing to bind`;
      throw new TalkError("not-understood", reason, { remedy: "lasting-server" });
    }
    await session.claim(also);
    return session.standing;
  } finally {
    await session.close();
  }
}
