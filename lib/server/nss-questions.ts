// What the server and the process that asks the user database tell each other.
import type { ServiceAnswer } from "../net/accounts.ts";

/** The process has begun. */
export const NSS_UP = "up";

export interface NssQuestion {
  readonly id: number;
  /** As nsswitch.conf(5) names it. */
  readonly service: string;
  /** Login or uid. */
  readonly user: string | number;
}

export type NssAnswer = { readonly id: number } & ServiceAnswer;
