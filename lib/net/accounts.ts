// The services of the system's user database, nss(5), each asked alone.
import { native } from "../native.ts";

export type ServiceAnswer =
  | { readonly is: "yes"; readonly uid: number; readonly login: string }
  | { readonly is: "no" | "unknown" };

/** The status of nss.h. */
const FOUND = 1;
const NOT_FOUND = 0;

/**
 * Asks one service, and blocks for as long as that likes: for a process of its own. A service without a module has no accounts.
 * @param service as nsswitch.conf(5) names it
 * @param user login or uid
 */
export function askService(service: string, user: string | number): ServiceAnswer {
  const [status, uid, login] = native.nssLookup(service, user) ?? [NOT_FOUND];
  if (status === FOUND && uid !== undefined && login !== undefined) return { is: "yes", uid, login };
  return { is: status === NOT_FOUND ? "no" : "unknown" };
}
