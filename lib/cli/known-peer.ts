// Whether somebody of a name is known: met before, or on now. For a word that could be a mistyped command.
import { foldIfValid, foldName } from "../base/names.ts";
import { listLocal } from "../presence/local-list.ts";
import { KnownPeers } from "../store/known-peers.ts";
import { contextOf } from "./command-context.ts";

/** @param args the command line, for --state-dir */
export async function isKnownPeer(name: string, args: readonly string[]): Promise<boolean> {
  const folded = foldIfValid(name);
  if (folded === null) return false;
  const at = args.indexOf("--state-dir");
  const stateDir = at === -1 ? undefined : args[at + 1];
  const { config } = await contextOf({ stateDir });
  if (new KnownPeers(config.stateDir).list().some((peer) => peer.name === folded)) return true;
  return listLocal().some((entry) => foldName(entry.name) === folded);
}
