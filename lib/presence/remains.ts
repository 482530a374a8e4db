// What dead servers of this user have left: every program of this user takes it away, at its start and at its end.
import { removeDeadServers } from "../directory/live-server.ts";
import { listLocal } from "./local-list.ts";

/** Never throws: there is nothing that the caller could do. */
export function removeRemains(): void {
  try {
    removeDeadServers(hasClients);
  } catch {
    // No descriptor is left, say: the next one does it.
  }
}

/** Clients of a server that has died start its successor, which reads who held which name. */
function hasClients(port: number): boolean {
  return listLocal().some(({ server }) => server.endsWith(`:${port}`));
}
